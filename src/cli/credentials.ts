import { randomUUID } from 'node:crypto'
import { mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Variables } from '../config/index.ts'
import { CommandError } from './command.ts'

/** What `login` stores about one server. */
export interface Login {
  readonly token: string
  /** The id of the token if `login` created it: `logout` revokes it. */
  readonly tokenId?: string
  readonly user: string
}

/** The servers that the user is logged in to, by origin. */
export interface Credentials {
  /** The server of the last login. */
  readonly current: string | null
  readonly servers: Readonly<Record<string, Login>>
}

const NONE: Credentials = { current: null, servers: {} }
/** Read and write permissions of the group and others. */
const OTHERS = 0o077

/** Where logins are stored; null when the environment names no place. */
function pathOf({ XDG_CONFIG_HOME, HOME }: Variables): string | null {
  // The specification says to ignore relative paths.
  const base = XDG_CONFIG_HOME?.startsWith('/') ? XDG_CONFIG_HOME : HOME && join(HOME, '.config')
  return base ? join(base, 'rhone', 'credentials.json') : null
}

/** @throws CommandError when they cannot be read, or others can read them */
export async function readCredentials(variables: Variables): Promise<Credentials> {
  const path = pathOf(variables)
  if (path === null) return NONE
  try {
    const text = await readFile(path, 'utf8')
    if (((await stat(path)).mode & OTHERS) !== 0)
      throw new CommandError(`${path} is readable by other users: run chmod 600 on it, or log in again`)
    return parse(text, path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return NONE
    if (error instanceof CommandError) throw error
    throw new CommandError(`${path} cannot be read (${(error as NodeJS.ErrnoException).code})`)
  }
}

function parse(text: string, path: string): Credentials {
  try {
    const { current, servers } = JSON.parse(text)
    if (typeof servers === 'object' && servers !== null && !Array.isArray(servers))
      return { current: typeof current === 'string' ? current : null, servers }
  } catch {
    // Reported below.
  }
  throw new CommandError(`${path} is damaged: remove it and log in again`)
}

/** @throws CommandError when the environment names no place to store logins */
export function checkPlace(variables: Variables): string {
  const path = pathOf(variables)
  if (path === null) throw new CommandError('the login cannot be saved: set HOME or XDG_CONFIG_HOME')
  return path
}

/** @returns the path of the file */
export async function keepLogin(variables: Variables, origin: string, login: Login): Promise<string> {
  const kept = await readCredentials(variables).catch(() => NONE)
  return write(variables, { current: origin, servers: { ...kept.servers, [origin]: login } })
}

export async function forgetLogin(variables: Variables, origin: string): Promise<void> {
  const { current, servers } = await readCredentials(variables)
  const { [origin]: _, ...others } = servers
  await write(variables, {
    current: current === origin ? (Object.keys(others).at(-1) ?? null) : current,
    servers: others
  })
}

/** Other processes see either the old file or the new one; other users see neither. */
async function write(variables: Variables, credentials: Credentials): Promise<string> {
  const path = checkPlace(variables)
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  const draft = `${path}.${randomUUID()}`
  await writeFile(draft, `${JSON.stringify(credentials, null, 2)}\n`, { mode: 0o600, flag: 'wx' })
  await rename(draft, path)
  return path
}
