import { mkdtemp, readlink, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { hasCode } from '../../../../plugins/lib/errno.ts'
import { findSocket, fitsSocket, type Layout } from '../layout.ts'

/** Removes a killed runner's socket, and returns the path to listen on. */
export async function prepareSocket(layout: Layout): Promise<string> {
  const earlier = await findSocket(layout)
  if (earlier !== null) await removeSocket(layout, earlier)
  await rm(layout.socket, { force: true })
  if (fitsSocket(layout.socket)) return layout.socket
  const parent = [tmpdir(), '/tmp'].find(candidate => fitsSocket(join(candidate, 'rhone-XXXXXX', 'runner.sock')))
  if (parent === undefined) throw new Error(`${layout.socket} is too long for a socket path: shorten DATA_DIR`)
  const path = join(await mkdtemp(join(parent, 'rhone-')), 'runner.sock')
  await symlink(path, layout.socket)
  return path
}

/** Includes the files outside of DATA_DIR. */
export async function removeSocket(layout: Layout, path: string): Promise<void> {
  if (path === layout.socket) return await rm(path, { force: true })
  await rm(dirname(path), { recursive: true, force: true })
  try {
    if ((await readlink(layout.socket)) === path) await rm(layout.socket, { force: true })
  } catch (error) {
    if (!hasCode(error, 'ENOENT', 'EINVAL')) throw error
  }
}
