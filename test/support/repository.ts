import { execFile } from 'node:child_process'
import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { TestContext } from 'node:test'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** Contents by path; what a link points at as `{ link }`, a program as `{ program }`. */
export type Files = Readonly<Record<string, string | { readonly link: string } | { readonly program: string }>>

export interface CommitOptions {
  readonly branch?: string
  readonly message?: string
  readonly author?: string
}

/** A bare repository, as somebody's remote. */
export interface Repository {
  readonly path: string
  readonly url: string
  /** Makes these files the whole content of a branch, and returns the commit. */
  push(files: Files, options?: CommitOptions): Promise<string>
}

/** @param name what its directory is called */
export async function createRepository(t: TestContext, name = 'app.git'): Promise<Repository> {
  const root = await scratchDirectory(t, 'rhone-repository-')
  const path = join(root, name)
  await git(root, 'init', '--quiet', '--bare', '--initial-branch=main', '--', path)

  async function push(files: Files, { branch = 'main', message = 'Change it', author = 'Ada' }: CommitOptions = {}) {
    const tree = await mkdtemp(join(root, 'tree-'))
    await git(tree, 'init', '--quiet', '--initial-branch=work')
    for (const [file, content] of Object.entries(files)) await put(join(tree, file), content)
    await git(tree, 'add', '--all', '--force')
    const identity = ['-c', `user.name=${author}`, '-c', 'user.email=ada@example.com', '-c', 'commit.gpgsign=false']
    await git(tree, ...identity, 'commit', '--quiet', '--allow-empty', '--cleanup=verbatim', `--message=${message}`)
    await git(tree, 'push', '--quiet', '--force', '--', path, `HEAD:refs/heads/${branch}`)
    return (await git(tree, 'rev-parse', 'HEAD')).trim()
  }

  return { path, url: pathToFileURL(path).href, push }
}

/** A directory that other users may pass through, gone after the test. */
export async function scratchDirectory(t: TestContext, prefix: string): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), prefix))
  await chmod(path, 0o711)
  t.after(() => rm(path, { recursive: true, force: true }))
  return path
}

async function put(path: string, content: Files[string]): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  if (typeof content === 'string') await writeFile(path, content)
  else if ('link' in content) await symlink(content.link, path)
  else await writeFile(path, content.program, { mode: 0o755 })
}

async function git(cwd: string, ...args: string[]): Promise<string> {
  const env = { PATH: process.env.PATH, GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_NOSYSTEM: '1' }
  const { stdout } = await run('git', args, { cwd, env })
  return stdout
}
