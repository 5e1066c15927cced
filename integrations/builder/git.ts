import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { readGitUrl } from '../../plugins/lib/git-url.ts'
import { removeTree } from '../../plugins/lib/remove-tree.ts'
import { BuildError, type BuildSource } from './port.ts'
import { type Finished, findProgram, type Sandbox } from './sandbox.ts'
import { chownTree, findEscape, readSmallFile } from './tree.ts'
import { certificatesFor } from './workspace.ts'

export interface CloneOptions {
  /** Name or path of git. */
  readonly git: string
  /** The `PATH` to find git and its helper programs. */
  readonly path: string
  /** Also accepts `http:` and `file:` URLs and hosts on private networks. For development. */
  readonly allowLocal: boolean
  /** Hosts the operator trusts, wherever they are. */
  readonly trustedHosts: readonly string[]
  /** The addresses of a host. @throws Error if one of them is not public */
  readonly addressesOf: (hostname: string) => Promise<readonly string[]>
}

export interface Commit {
  readonly commitSha: string
  /** The first line, at most 200 characters. */
  readonly commitMessage: string
  readonly commitAuthor: string
}

const SHA = /^[0-9a-f]{40}$/
/** What git forbids in branch names, and a leading dash, which it forbids only when a branch is created. */
const NO_BRANCH = /[\p{Cc} ~^:?*[\\]|\.\.|@\{|\/\/|^[-/.]|\/\.|\.lock(\/|$)|[/.]$|^@$/u
const AUTHORIZATION = /^[\x20-\x7e]{1,4096}$/

/** Errors that concern this machine and may pass on a retry. All others concern the repository. */
const OURS =
  /no space left on device|disk quota exceeded|read-only file system|cannot allocate memory|out of memory|unable to create thread|resource temporarily unavailable|too many open files/i

/** Sentences for the owner where git's message, which is appended, is hard to understand. */
const EXPLANATIONS: readonly (readonly [pattern: RegExp, sentence: string])[] = [
  [/couldn't find remote ref|remote branch .{1,300} not found/i, 'The repository has no such branch.'],
  [/not our ref|unadvertised object|not a valid object|bad object/i, 'The repository has no such commit.'],
  [
    /dubious ownership/i,
    'The repository belongs to another user of this machine: git only clones directories of the user that Rhone runs as.'
  ],
  [/died of signal 25|file too large/i, 'The repository is too large to build.'],
  [
    /dumb http transport/i,
    'The repository’s host only serves static files: it must support the smart HTTP protocol of git.'
  ],
  [
    /returned error: 30\d|redirect/i,
    'The repository’s URL redirects, which is not followed: use the target URL, which often ends in .git.'
  ],
  [/certificate|\bSSL\b|\bTLS\b|gnutls/i, 'The TLS connection to the repository’s host failed.'],
  [/could(n't| not) resolve host/i, 'The repository’s host was not found.'],
  [/failed to connect|connection refused|timed out|connection reset/i, 'The repository’s host does not answer.'],
  [/returned error: (429|5\d\d)/i, 'The repository’s host is unavailable: try again later.'],
  [/mismatched algorithms|object format/i, 'The repository uses SHA-256, which is not supported.'],
  [/transport '\S{1,50}' not allowed/i, 'The repository’s URL must use https.'],
  [
    /repository .{0,500}not found|authentication failed|could not read (username|password)|returned error: 40[134]|does not (exist|appear to be)/i,
    'The repository does not exist, or the app’s GitHub installation cannot read it.'
  ]
]
const LONGEST_REASON = 300

/**
 * Fetches one commit of a repository into an empty directory, without other history, submodules or any programs its
 * attributes ask for.
 *
 * Nothing here reaches a shell, and no secret reaches an argument or a file: git gets them in its environment.
 *
 * @throws BuildError when the source is refused, or the repository, branch or commit does not exist
 */
export async function clone(
  source: BuildSource,
  directory: string,
  sandbox: Sandbox,
  options: CloneOptions
): Promise<Commit> {
  const url = checkSource(source, options.allowLocal)
  const reader = url.protocol === 'file:' && source.mayReadOurs !== true ? sandbox.account : null
  const env = {
    ...environmentOf(await configurationOf(url, source.authorization, options), options),
    GIT_SSL_CAINFO: await certificatesFor(sandbox),
    ...(reader !== null && { GIT_CONFIG_GLOBAL: await trustingConfiguration(sandbox) })
  }
  const program = await findProgram(options.git, options.path)
  const git = (...args: string[]) =>
    sandbox.run({
      argv: [program, ...args],
      cwd: directory,
      env,
      isQuiet: true,
      ...(reader === null && { asOurselves: true })
    })

  await mkdir(directory, { recursive: true, mode: 0o700 })
  if (reader !== null) await chownTree(directory, reader)
  await succeed(git('init', '--quiet', '--template='))
  const wanted = source.commitSha ?? `refs/heads/${source.branch}`
  sandbox.note(`Fetching ${source.commitSha ?? source.branch} of ${url.href}\n`)
  const fetched = await git(
    'fetch',
    '--quiet',
    '--depth=1',
    '--no-tags',
    '--no-recurse-submodules',
    '--',
    url.href,
    wanted
  )
  if (fetched.code !== 0 && reader !== null)
    sandbox.note('A repository on this machine is read as the user of the build: make it readable for everybody.\n')
  if (fetched.code !== 0) throw failureOf(fetched)
  await succeed(git('checkout', '--quiet', '--force', '--detach', 'FETCH_HEAD', '--'))
  const commit = readCommit(
    await succeed(git('show', '--no-patch', '--no-show-signature', '--format=%H%n%an%n%B', 'HEAD', '--'))
  )
  if (source.commitSha !== undefined && source.within !== undefined)
    await requireWithin(source.within, source.commitSha, url, git)
  await noteOmissions(directory, sandbox)
  await removeTree(`${directory}/.git`, `${sandbox.directory}/graveyard`)

  const leak = await findEscape(directory)
  if (leak !== null) throw new BuildError(`The link ${JSON.stringify(leak)} points outside the repository.`)
  return commit
}

function checkSource(
  { url, branch, within = branch, commitSha, authorization }: BuildSource,
  allowLocal: boolean
): URL {
  const read = readGitUrl(url, allowLocal)
  if ('complaint' in read) throw new BuildError(`The app’s repository cannot be cloned: its URL ${read.complaint}.`)
  if ([branch, within].some(name => name.length > 250 || name === '' || NO_BRANCH.test(name)))
    throw new BuildError('The name of the branch is invalid.')
  if (commitSha !== undefined && !SHA.test(commitSha)) throw new BuildError('The commit is not a full SHA.')
  if (authorization !== undefined && !AUTHORIZATION.test(authorization))
    throw new Error('the authorization of a repository is not a valid header value')
  return new URL(read.url)
}

async function configurationOf(
  url: URL,
  authorization: string | undefined,
  options: CloneOptions
): Promise<[string, string][]> {
  const settings: [string, string][] = [
    ['core.hooksPath', '/dev/null'],
    ['core.fsmonitor', 'false'],
    ['credential.helper', ''],
    ['gc.auto', '0'],
    ['http.followRedirects', 'false'],
    ['http.lowSpeedLimit', '1000'],
    ['http.lowSpeedTime', '30'],
    ['protocol.ext.allow', 'never'],
    ['submodule.recurse', 'false']
  ]
  if (authorization !== undefined) settings.push([`http.${url.origin}/.extraHeader`, `Authorization: ${authorization}`])
  if (url.protocol !== 'file:' && !options.allowLocal && !options.trustedHosts.includes(url.host)) {
    const port = url.port || (url.protocol === 'https:' ? '443' : '80')
    const addresses = await publicAddresses(url.hostname, options)
    settings.push(['http.curloptResolve', `${url.hostname}:${port}:${addresses.join(',')}`])
  }
  return settings
}

/**
 * Git refuses other users' repositories unless a file allows it: it passes no other setting to the program that reads
 * them. Here that program runs as the build's user, and can do no more than the build.
 */
async function trustingConfiguration({ directory }: Sandbox): Promise<string> {
  const path = join(directory, 'gitconfig')
  await writeFile(path, '[safe]\n\tdirectory = *\n', { mode: 0o644 })
  return path
}

async function publicAddresses(hostname: string, { addressesOf }: CloneOptions): Promise<readonly string[]> {
  try {
    return await addressesOf(hostname)
  } catch (cause) {
    throw new BuildError('The repository’s host has no public Internet address.', { cause })
  }
}

function environmentOf(
  settings: readonly [string, string][],
  { path, allowLocal }: CloneOptions
): Record<string, string> {
  const env: Record<string, string> = {
    PATH: path,
    HOME: '/nonexistent',
    LC_ALL: 'C.UTF-8',
    GIT_ALLOW_PROTOCOL: allowLocal ? 'https:http:file' : 'https',
    GIT_ASKPASS: '/bin/false',
    GIT_CONFIG_COUNT: String(settings.length),
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_LFS_SKIP_SMUDGE: '1',
    GIT_TERMINAL_PROMPT: '0'
  }
  for (const [index, [key, value]] of settings.entries()) {
    env[`GIT_CONFIG_KEY_${index}`] = key
    env[`GIT_CONFIG_VALUE_${index}`] = value
  }
  return env
}

async function succeed(running: Promise<Finished>): Promise<string> {
  const finished = await running
  if (finished.code !== 0) throw failureOf(finished)
  return finished.output
}

function failureOf({ code, tail }: Finished): Error {
  if (code === null || OURS.test(tail)) return new Error('this machine cannot fetch repositories at the moment')
  const [, sentence = 'The repository could not be fetched.'] = EXPLANATIONS.find(([known]) => known.test(tail)) ?? []
  const reason = reasonOf(tail)
  return new BuildError(sentence, reason === '' ? {} : { reason: `git: ${reason}` })
}

/** Git's final error line, without the advice that follows. */
function reasonOf(tail: string): string {
  const lines = tail.split('\n').map(line => line.trim())
  const errors = lines.filter(line => /^(?:fatal|error|remote): /.test(line))
  const told = errors.find(line => line.startsWith('fatal: ')) ?? errors.at(-1) ?? lines.findLast(Boolean) ?? ''
  return told
    .replace(/^(?:fatal|error): /, '')
    .replace(/ CAfile: .{0,500}$/, '')
    .slice(0, LONGEST_REASON)
    .replace(/\.$/, '')
}

/**
 * Successive fetch depths when looking for a commit on a branch, up to all of its commits. Trees and files are left
 * out.
 */
const DEPTHS = ['1', '200', '5000', '2147483647']
const BRANCH_TO_CHECK = 'refs/rhone/branch'

/** @throws BuildError unless the commit is on the branch */
async function requireWithin(
  branch: string,
  commitSha: string,
  url: URL,
  git: (...args: string[]) => Promise<Finished>
): Promise<void> {
  for (const depth of DEPTHS) {
    const refspec = `+refs/heads/${branch}:${BRANCH_TO_CHECK}`
    await succeed(git('fetch', '--quiet', '--no-tags', '--filter=tree:0', `--depth=${depth}`, '--', url.href, refspec))
    const { code } = await git('merge-base', '--is-ancestor', commitSha, BRANCH_TO_CHECK)
    if (code === 0) return
  }
  throw new BuildError(
    `The commit is not on the branch ${branch}, and its code could read the env vars of the app: an admin of the team can deploy it with "anyCommit".`
  )
}

/** Notes what the clone omits although the app may rely on it. */
async function noteOmissions(directory: string, sandbox: Sandbox): Promise<void> {
  if (await readSmallFile(directory, '.gitmodules'))
    sandbox.note('The repository has submodules. They are not fetched; their directories are empty.\n')
  if ((await readSmallFile(directory, '.gitattributes'))?.includes('filter=lfs'))
    sandbox.note('The repository has files in Git LFS. They are not fetched; pointer files take their place.\n')
}

function readCommit(shown: string): Commit {
  const [commitSha = '', author = '', ...message] = shown.split('\n')
  if (!SHA.test(commitSha)) throw new Error('git did not report the commit')
  const subject = message.find(line => line.trim() !== '') ?? ''
  return { commitSha, commitMessage: shortened(subject), commitAuthor: shortened(author) }
}

function shortened(text: string): string {
  return [
    ...text
      .slice(0, 800)
      .replace(/\p{Cc}+/gu, ' ')
      .trim()
  ]
    .slice(0, 200)
    .join('')
}
