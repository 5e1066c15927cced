import { mkdir } from 'node:fs/promises'
import { removeTree } from '../../plugins/lib/remove-tree.ts'
import { BuildError, type BuildSource } from './port.ts'
import { findProgram, type Sandbox } from './sandbox.ts'
import { findEscape } from './tree.ts'

export interface CloneOptions {
  /** The name of git, or its path. */
  readonly git: string
  /** Where it is found, and finds its own programs. */
  readonly path: string
  /** Also takes `http:` and `file:` URLs, and hosts of private networks. For development. */
  readonly allowLocal: boolean
  /** Hosts that the operator has named, wherever they are. */
  readonly trustedHosts: readonly string[]
  /** The addresses of a host. @throws Error when it is not a public one */
  readonly addressesOf: (hostname: string) => Promise<readonly string[]>
}

export interface Commit {
  readonly commitSha: string
  /** The first line, at most 200 characters. */
  readonly commitMessage: string
  readonly commitAuthor: string
}

const REMOTE_URL = /^https?:\/\/[a-z0-9.-]+(:\d{1,5})?\/[\w.~%/+@-]+$/i
const LOCAL_URL = /^file:\/\/\/[\w.~%/+@-]+$/
const SHA = /^[0-9a-f]{40}$/
/** What git forbids in the name of a branch, and a dash in front, which it forbids to those who create one. */
const NO_BRANCH = /[\p{Cc} ~^:?*[\\]|\.\.|@\{|\/\/|^[-/.]|\/\.|\.lock(\/|$)|[/.]$|^@$/u
const AUTHORIZATION = /^[\x20-\x7e]{1,4096}$/

/** What git says when no other attempt will do better, and what the owner of the app is told. */
const REFUSALS: readonly (readonly [pattern: RegExp, sentence: string])[] = [
  [/couldn't find remote ref|remote branch .* not found/i, 'The repository has no such branch.'],
  [/not our ref|unadvertised object|not a valid object|bad object/i, 'The repository has no such commit.'],
  [
    /repository .*not found|authentication failed|could not read (username|password)|returned error: 40[134]|does not (exist|appear to be)/i,
    'The repository does not exist, or may not be read by the app’s installation.'
  ],
  [/died of signal 25|file too large/i, 'The repository is too big to be built.'],
  [/redirect/i, 'The repository has moved: its URL leads elsewhere.'],
  [/transport '\S+' not allowed/i, 'The repository’s URL must be an https one.']
]

/**
 * Fetches one commit of a repository into an empty directory, without the rest of its history, its submodules or what
 * its attributes ask to be run.
 *
 * Nothing of this reaches a shell, and no secret an argument or a file: git gets them in its environment.
 *
 * @throws BuildError when the source is refused, or there is no such repository, branch or commit
 */
export async function clone(
  source: BuildSource,
  directory: string,
  sandbox: Sandbox,
  options: CloneOptions
): Promise<Commit> {
  const url = checkSource(source, options.allowLocal)
  const env = environmentOf(await configurationOf(url, source.authorization, options), options)
  const program = await findProgram(options.git, options.path)
  const git = (...args: string[]) =>
    sandbox.run({ argv: [program, ...args], cwd: directory, env, asOurselves: true, isQuiet: true })

  await mkdir(directory, { recursive: true, mode: 0o700 })
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
  if (fetched.code !== 0) throw refusalOf(fetched.tail)
  await succeed(git('checkout', '--quiet', '--force', '--detach', 'FETCH_HEAD', '--'))
  const commit = readCommit(
    await succeed(git('show', '--no-patch', '--no-show-signature', '--format=%H%n%an%n%B', 'HEAD', '--'))
  )
  await removeTree(`${directory}/.git`, `${sandbox.directory}/graveyard`)

  const leak = await findEscape(directory)
  if (leak !== null) throw new BuildError(`The link ${JSON.stringify(leak)} leads out of the repository.`)
  return commit
}

function checkSource({ url, branch, commitSha, authorization }: BuildSource, allowLocal: boolean): URL {
  const parsed = URL.parse(url)
  const isTaken =
    parsed !== null &&
    (/^https:/.test(url) || allowLocal) &&
    !parsed.username &&
    !parsed.password &&
    [REMOTE_URL, LOCAL_URL].some(pattern => pattern.test(url))
  if (!isTaken) throw new BuildError('The repository’s URL is not one that can be cloned.')
  if (branch.length > 250 || branch === '' || NO_BRANCH.test(branch))
    throw new BuildError('The branch is not named as branches can be.')
  if (commitSha !== undefined && !SHA.test(commitSha)) throw new BuildError('The commit is not a full SHA.')
  if (authorization !== undefined && !AUTHORIZATION.test(authorization))
    throw new Error('the authorization of a repository is no value of a header')
  return parsed
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

async function publicAddresses(hostname: string, { addressesOf }: CloneOptions): Promise<readonly string[]> {
  try {
    return await addressesOf(hostname)
  } catch (cause) {
    throw new BuildError('The repository’s host cannot be found on the public Internet.', { cause })
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

async function succeed(running: ReturnType<Sandbox['run']>): Promise<string> {
  const { code, output, tail } = await running
  if (code !== 0) throw refusalOf(tail)
  return output
}

/** Whatever is not known to be final may be better next time. */
function refusalOf(tail: string): Error {
  const [, sentence] = REFUSALS.find(([pattern]) => pattern.test(tail)) ?? []
  return sentence === undefined ? new Error('the repository cannot be fetched') : new BuildError(sentence)
}

function readCommit(shown: string): Commit {
  const [commitSha = '', author = '', ...message] = shown.split('\n')
  if (!SHA.test(commitSha)) throw new Error('git does not say which commit this is')
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
