import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { TestContext } from 'node:test'
import { promisify } from 'node:util'
import { type CliStreams, main } from '../../src/cli/main.ts'
import type { Variables } from '../../src/config/index.ts'
import { testApp } from './app.ts'

const run = promisify(execFile)

export interface Result {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** One command line of a user with a home directory, a folder and a server. */
export async function rhone(
  words: string,
  variables: Variables,
  folder: string,
  more: Partial<CliStreams> = {}
): Promise<Result> {
  const written = { stdout: '', stderr: '' }
  const code = await main(words.split(' '), {
    stdout(text) {
      written.stdout += text
    },
    stderr(text) {
      written.stderr += text
    },
    environment: () => variables,
    folder,
    ...more
  })
  return { code, ...written }
}

export async function folderOf(t: { after(fn: () => unknown): void }, files: Readonly<Record<string, string>> = {}) {
  const folder = await mkdtemp(join(tmpdir(), 'rhone-cli-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(folder, path)), { recursive: true })
    await writeFile(join(folder, path), text)
  }
  return folder
}

/** A minimal app without dependencies. */
export const greeting = (text: string) => ({
  'package.json': '{"scripts":{"start":"node server.js"}}',
  'server.js': `require('node:http').createServer((_, reply) => reply.end('${text} ' + process.env.GREETING)).listen(process.env.PORT, process.env.HOST, () => console.log('listening'))`
})

/** Somebody who deploys, with a server and a home directory of its own. */
export interface Person {
  readonly env: Variables
  readonly url: string
  /** Runs a command that must exit with 0. */
  succeed(words: string, folder: string, more?: Partial<CliStreams>): Promise<Result>
  /** What the command prints with `--json`. */
  data(words: string, folder: string): Promise<ReturnType<typeof JSON.parse>>
}

/** The local apps of the server are stopped first when the scope ends. */
export async function newPerson(scope: { after(fn: () => unknown): void }): Promise<Person> {
  const ended: (() => unknown)[] = []
  scope.after(async () => {
    for (const end of ended) await end()
  })
  const inner = { after: (fn: () => unknown) => void ended.push(fn) }
  const server = await testApp(inner as unknown as TestContext, {
    APPS_PORT: '0',
    RATE_LIMIT_DEPLOY: '1000/s:1000',
    RATE_LIMIT_STRICT: '1000/s:1000'
  })
  const url = await server.app.listen({ host: '127.0.0.1', port: 0 })
  const home = await folderOf(inner)
  const env = { RHONE_URL: url, RHONE_TOKEN: server.token, HOME: home }
  ended.unshift(() =>
    run(process.execPath, [join(import.meta.dirname, '../../src/cli.ts'), 'local', 'stop'], {
      env: { ...process.env, DATA_DIR: server.config.dataDir }
    })
  )
  const succeed: Person['succeed'] = async (words, folder, more = {}) => {
    const result = await rhone(words, env, folder, more)
    assert.equal(result.code, 0, `${words}: ${result.stderr}`)
    return result
  }
  return {
    env,
    url,
    succeed,
    data: async (words, folder) => JSON.parse((await succeed(`${words} --json`, folder)).stdout)
  }
}
