import { execFile } from 'node:child_process'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** Contents by path; the target of a link as `{ link }`, an executable as `{ program }`. */
export type Files = Readonly<Record<string, string | { readonly link: string } | { readonly program: string }>>

export interface CommitOptions {
  readonly branch?: string
  readonly message?: string
  readonly author?: string
}

/** A bare repository that serves as a remote. */
export interface Repository {
  readonly path: string
  readonly url: string
  /** Makes these files the whole content of a branch, and returns the commit. */
  push(files: Files, options?: CommitOptions): Promise<string>
}

/** @param name of its directory */
export async function createRepository(t: TestContext, name = 'app.git'): Promise<Repository> {
  const root = await scratchDirectory(t, 'rhone-repository-')
  const path = join(root, name)
  await git(root, ['init', '--quiet', '--bare', '--initial-branch=main', '--', path])

  async function push(files: Files, options: CommitOptions = {}) {
    return (
      await git(path, ['fast-import', '--quiet', '--force', '--date-format=now'], importOf(files, options))
    ).trim()
  }

  return { path, url: pathToFileURL(path).href, push }
}

/** A directory that other users can enter, removed after the test. */
export async function scratchDirectory(t: TestContext, prefix: string): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), prefix))
  await chmod(path, 0o711)
  t.after(() => rm(path, { recursive: true, force: true }))
  return path
}

/** A commit without parents, in the format of `git fast-import`: it takes only one process. */
function importOf(files: Files, { branch = 'main', message = 'Change it', author = 'Ada' }: CommitOptions): string {
  return [
    'feature done',
    `commit refs/heads/${branch}`,
    'mark :1',
    // Characters that git removes from names.
    `author ${author.replace(/[<>\n]/g, '')} <ada@example.com> now`,
    'committer Ada <ada@example.com> now',
    dataOf(message),
    ...Object.entries(files).map(([file, content]) => fileOf(file, content)),
    'get-mark :1',
    'done\n'
  ].join('\n')
}

function fileOf(file: string, content: Files[string]): string {
  const [mode, data] =
    typeof content === 'string'
      ? ['100644', content]
      : 'link' in content
        ? ['120000', content.link]
        : ['100755', content.program]
  const path = file.replace(/["\\]/g, '\\$&').replaceAll('\n', '\\n')
  return `M ${mode} inline "${path}"\n${dataOf(data)}`
}

const dataOf = (text: string) => `data ${Buffer.byteLength(text)}\n${text}`

async function git(cwd: string, args: readonly string[], input?: string): Promise<string> {
  const env = { PATH: process.env.PATH, GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_NOSYSTEM: '1' }
  const running = run('git', args, { cwd, env })
  // Writing to a process that has ended fails, even with empty input.
  if (input !== undefined) running.child.stdin!.end(input)
  const { stdout } = await running
  return stdout
}
