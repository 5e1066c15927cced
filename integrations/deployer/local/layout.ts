import { readFileSync } from 'node:fs'
import { lstat, mkdir, readlink } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { hasCode } from '../../../plugins/lib/errno.ts'
import { imagesDirectory } from '../../../plugins/lib/local-image.ts'
import type { PortRecord } from './protocol.ts'

/** The runner's files below DATA_DIR. None of them holds values of env vars. */
export interface Layout {
  readonly dataDir: string
  /** The runner's root directory; if it disappears, the runner ends with all its apps. */
  readonly root: string
  /** The runner's socket, or a symbolic link to it if this path is too long for a socket. */
  readonly socket: string
  /** The kernel lock that limits this directory to one runner. */
  readonly lock: string
  readonly pid: string
  readonly log: string
  /** The port that serves apps. */
  readonly port: string
  /** Where files of deleted apps are moved to be removed. */
  readonly graveyard: string
  /** The processes that the runner has started, to be ended if it was killed. */
  readonly processes: string
}

export function layoutOf(dataDir: string): Layout {
  const root = join(resolve(dataDir), 'apps')
  return {
    dataDir: resolve(dataDir),
    root,
    socket: join(root, 'runner.sock'),
    lock: join(root, 'runner.lock'),
    pid: join(root, 'runner.pid'),
    log: join(root, 'runner.log'),
    port: join(root, 'port.json'),
    graveyard: join(root, 'graveyard'),
    processes: join(root, 'processes.json')
  }
}

/**
 * When this process is root, apps run under their own users, which must traverse this directory to reach their homes.
 */
export async function createRoot({ root }: Layout): Promise<void> {
  await mkdir(root, { recursive: true, mode: process.geteuid?.() === 0 ? 0o711 : 0o700 })
}

/** An app's own directory. @throws Error when the id is not a valid app id */
export function appDirectory({ root, dataDir }: Layout, appId: string): string {
  imagesDirectory(dataDir, appId)
  return join(root, 'of', appId)
}

/** The recorded port; null when no runner has been here yet, or the record is damaged. */
export function readPort({ port }: Layout): PortRecord | null {
  const record = readJson(port) as Partial<PortRecord> | null
  return isPort(record?.port) && isPort(record?.configured)
    ? { port: record.port, configured: record.configured }
    : null
}

const isPort = (value: unknown): value is number =>
  Number.isInteger(value) && Number(value) >= 0 && Number(value) < 65_536

/** Parses a recorded file; null when it is missing or incomplete. */
export function readJson(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch (error) {
    if (error instanceof SyntaxError || hasCode(error, 'ENOENT', 'ENOTDIR')) return null
    throw error
  }
}

/** Length limit for socket paths in bytes, with a margin: the limits are 103 on macOS and 107 on Linux. */
const SOCKET_PATH_LIMIT = 100

export const fitsSocket = (path: string) => Buffer.byteLength(path) <= SOCKET_PATH_LIMIT

/** The socket's path; null when there is none to connect to. */
export async function findSocket({ socket }: Layout): Promise<string | null> {
  try {
    if (!(await lstat(socket)).isSymbolicLink()) return socket
    const target = await readlink(socket)
    return (await isPrivate(resolve(target, '..'))) ? target : null
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return null
    throw error
  }
}

/** In a shared /tmp, another user may have created a directory of that name after ours was cleaned away. */
async function isPrivate(directory: string): Promise<boolean> {
  const found = await lstat(directory)
  return found.isDirectory() && found.uid === process.geteuid?.() && (found.mode & 0o077) === 0
}
