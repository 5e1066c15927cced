import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { TestContext } from 'node:test'
import { promisify } from 'node:util'

const run = promisify(execFile)

export interface TestRepository {
  /** The URL of the bare repository, for clones. */
  readonly directory: string
  /** The directory that contains `owner/name.git`. */
  readonly root: string
  /** Commits these files, and no others, on a branch, and pushes. @returns the commit and the one before */
  push(files: Readonly<Record<string, string>>, message: string): Promise<{ sha: string; before: string }>
}

const NONE = '0'.repeat(40)

/** A bare repository, and a clone that pushes to it. */
export async function testRepository(t: TestContext, name = 'acme/website', branch = 'main'): Promise<TestRepository> {
  const root = await mkdtemp(join(tmpdir(), 'rhone-repository-'))
  t.after(() => rm(root, { recursive: true, force: true }))
  const directory = join(root, `${name}.git`)
  const work = join(root, 'work')
  await run('git', ['init', '--quiet', '--bare', `--initial-branch=${branch}`, directory])
  await run('git', ['init', '--quiet', `--initial-branch=${branch}`, work])
  const identity = ['-c', 'user.name=Ada Lovelace', '-c', 'user.email=ada@example.com']
  const git = async (...args: string[]) => (await run('git', ['-C', work, ...identity, ...args])).stdout.trim()
  let before = NONE

  return {
    directory,
    root,
    async push(files, message) {
      await git('rm', '-r', '--quiet', '--ignore-unmatch', '.')
      for (const [path, content] of Object.entries(files)) {
        await mkdir(join(work, dirname(path)), { recursive: true })
        await writeFile(join(work, path), content)
      }
      await git('add', '--all')
      await git('commit', '--quiet', '--allow-empty', '--message', message)
      await git('push', '--quiet', directory, `HEAD:refs/heads/${branch}`)
      const pushed = { sha: await git('rev-parse', 'HEAD'), before }
      before = pushed.sha
      return pushed
    }
  }
}

/** An app that replies with a given text; without dependencies. */
export function saying(text: string): Record<string, string> {
  return {
    'package.json': JSON.stringify({ name: 'website', private: true, scripts: { start: 'node server.js' } }),
    'server.js': `
      const { createServer } = require('node:http')
      createServer((request, response) => {
        console.log(request.method + ' ' + request.url)
        setTimeout(() => response.end(${JSON.stringify(text)} + ' ' + (process.env.GREETING ?? '')), 5)
      }).listen(process.env.PORT, process.env.HOST)
    `
  }
}
