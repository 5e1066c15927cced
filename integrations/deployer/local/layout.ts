import { readFileSync } from 'node:fs'
import { lstat, mkdir, readlink } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { hasCode } from '../../../plugins/lib/errno.ts'
import { imagesDirectory } from '../../../plugins/lib/local-image.ts'
import type { PortRecord } from './protocol.ts'

/** What the runner keeps below DATA_DIR. Values of env vars are in no file. */
export interface Layout {
  readonly dataDir: string
  /** Everything of the runner; when it vanishes, the runner ends with all its apps. */
  readonly root: string
  /** The socket on which the runner is spoken to, or a symbolic link to it where this path is too long for one. */
  readonly socket: string
  /** The kernel's lock of the one runner that this directory has. */
  readonly lock: string
  readonly pid: string
  readonly log: string
  /** The port that apps are opened on. */
  readonly port: string
  /** Where what belonged to apps that are gone is removed. */
  readonly graveyard: string
  /** What to end when a runner was killed: the processes that it has started. */
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

/** Apps run as users of their own where this process is root, and pass through it to their homes. */
export async function createRoot({ root }: Layout): Promise<void> {
  await mkdir(root, { recursive: true, mode: process.geteuid?.() === 0 ? 0o711 : 0o700 })
}

/** What an app has to itself. @throws Error when this is no id of an app */
export function appDirectory({ root, dataDir }: Layout, appId: string): string {
  imagesDirectory(dataDir, appId)
  return join(root, 'of', appId)
}

/** Where apps are opened; null when no runner was here yet, or its note is damaged. */
export function readPort({ port }: Layout): PortRecord | null {
  const record = readJson(port) as Partial<PortRecord> | null
  return isPort(record?.port) && isPort(record?.configured)
    ? { port: record.port, configured: record.configured }
    : null
}

const isPort = (value: unknown): value is number =>
  Number.isInteger(value) && Number(value) >= 0 && Number(value) < 65_536

/** What was written down in a file; null when there is none, or no more than a part of it. */
export function readJson(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch (error) {
    if (error instanceof SyntaxError || hasCode(error, 'ENOENT', 'ENOTDIR')) return null
    throw error
  }
}

/** Bytes that the path of a socket may have, with some to spare: 103 on macOS, 107 on Linux. */
const SOCKET_PATH_LIMIT = 100

export const fitsSocket = (path: string) => Buffer.byteLength(path) <= SOCKET_PATH_LIMIT

/** Where the runner listens, if it does; null when there is nothing to connect to. */
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

/** Anybody may have put a directory of that name into a shared /tmp after ours was cleaned away. */
async function isPrivate(directory: string): Promise<boolean> {
  const found = await lstat(directory)
  return found.isDirectory() && found.uid === process.geteuid?.() && (found.mode & 0o077) === 0
}
