import type { ChildProcess, SpawnOptions } from 'node:child_process'
import { lstat } from 'node:fs/promises'
import { nullIf } from '../../plugins/lib/errno.ts'
import type { PostgresBinaries } from './binaries.ts'
import { EmbeddedPostgresError } from './errors.ts'
import { runProgram, spawnProgram } from './programs.ts'

export interface Account {
  readonly uid: number
  readonly gid: number
}

/** A way to run PostgreSQL's programs here. PostgreSQL refuses to run as root, so root needs a workaround. */
export interface Launcher {
  /** For the log: `as uid 65534`. */
  readonly description: string
  /** The user that must own the files PostgreSQL writes. */
  readonly account: Account
  /** `18.4` */
  readonly version: string
  spawn(command: readonly string[], options: SpawnOptions): ChildProcess
}

type LaunchOption = Omit<Launcher, 'version'>

/** The accounts to try in order when root has no better hint than the machine's usual users. */
const USUAL_ACCOUNTS = ['postgres', '_postgres', 'nobody']

/** Finds, by trying each, the first way that can execute `binaries` and enter `directory`. */
export async function chooseLauncher(binaries: PostgresBinaries, directory: string, data: string): Promise<Launcher> {
  const own = { uid: process.geteuid!(), gid: process.getegid!() }
  const account = own.uid === 0 ? await unprivilegedAccount(data, directory) : own
  const ways = own.uid === 0 ? launchOptionsForRoot(account) : [directly(own)]
  const failures: string[] = []
  for (const way of ways) {
    const attempt = ['sh', '-c', 'cd "$1" && exec "$2" --version', 'sh', directory, binaries.postgres]
    const { ok, output } = await runProgram(() => way.spawn(attempt, {}))
    const version = / (\d+\S*)/.exec(output)?.[1]
    if (ok && version) return { ...way, version }
    failures.push(`${way.description}: ${output}`)
  }
  throw new EmbeddedPostgresError(
    own.uid === 0
      ? `PostgreSQL does not run as root, and uid ${account.uid} cannot reach both ${binaries.directory} and ${directory}: set DATA_DIR to a directory that this user can enter, start as another user, or set DATABASE_URL (${failures.join('; ')}).`
      : `The embedded PostgreSQL cannot run on this machine: set DATABASE_URL (${failures.join('; ')}).`
  )
}

/**
 * From most to least ordinary. The capabilities are for an installation or a DATA_DIR below a directory that only root
 * may enter: first the one that only bypasses read permissions, then the one that containers are granted. In a separate
 * user namespace, root's files stay reachable while root has another uid.
 */
function launchOptionsForRoot(account: Account): LaunchOption[] {
  return [
    directly(account),
    withCapability(account, 'dac_read_search'),
    withCapability(account, 'dac_override'),
    inUserNamespace(account)
  ]
}

function directly(account: Account): LaunchOption {
  // As root, spawn() also drops the supplementary groups.
  const credentials = account.uid === process.geteuid!() ? {} : account
  return {
    description: `as uid ${account.uid}`,
    account,
    spawn: (command, options) => spawnProgram(command, { ...options, ...credentials })
  }
}

function withCapability(account: Account, capability: string): LaunchOption {
  const { uid, gid } = account
  const identity = [`--reuid=${uid}`, `--regid=${gid}`, '--clear-groups']
  // PostgreSQL calls access(2) on its own program; without this bit that call ignores an ordinary user's capabilities.
  const capabilities = [`--inh-caps=+${capability}`, `--ambient-caps=+${capability}`, '--securebits=+no_setuid_fixup']
  const prefix = ['setpriv', ...identity, ...capabilities, '--']
  return {
    description: `as uid ${uid} with the capability ${capability}`,
    account,
    spawn: (command, options) => spawnProgram([...prefix, ...command], options)
  }
}

function inUserNamespace({ uid, gid }: Account): LaunchOption {
  const prefix = ['unshare', '--user', `--map-user=${uid}`, `--map-group=${gid}`, '--']
  return {
    description: `as uid ${uid} of a user namespace`,
    account: { uid: 0, gid: 0 },
    spawn: (command, options) => spawnProgram([...prefix, ...command], options)
  }
}

/** The owner of the database if it exists, else of its directory, else the machine's usual unprivileged user. */
async function unprivilegedAccount(...paths: string[]): Promise<Account> {
  for (const path of paths) {
    const owner = await lstat(path).catch(nullIf('ENOENT'))
    if (owner && owner.uid !== 0) return { uid: owner.uid, gid: owner.gid }
  }
  for (const name of USUAL_ACCOUNTS) {
    const [uid, gid] = await Promise.all([accountNumber('-u', name), accountNumber('-g', name)])
    if (uid && gid) return { uid, gid }
  }
  throw new EmbeddedPostgresError(
    'PostgreSQL does not run as root, and this machine has no user postgres or nobody: start as another user, or set DATABASE_URL.'
  )
}

async function accountNumber(option: '-u' | '-g', name: string): Promise<number | null> {
  const { ok, output } = await runProgram(() => spawnProgram(['id', option, name], {}))
  return ok ? Number(output) : null
}
