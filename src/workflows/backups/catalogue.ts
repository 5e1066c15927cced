import type { Storage, StoredObject } from '../../../integrations/storage/index.ts'
import { type Descriptor, parseDescriptor } from './manifest.ts'
import { BEGUN, DATA, DESCRIPTOR, KEYS, objectOf, partOf, ROOT } from './names.ts'

/** A backup as found in the storage. */
export interface Backup {
  readonly id: string
  /**
   * - `verified`: it was read back when it was made, and all of it is there.
   * - `damaged`: a part is missing or has another size, or the descriptor cannot be read.
   * - `unfinished`: it is being made, or was cut off.
   */
  readonly state: 'verified' | 'damaged' | 'unfinished'
  /** What is wrong with a damaged one. */
  readonly problem: string | null
  /** Null if it cannot be read. */
  readonly installation: string | null
  /** Derived from the id if nothing better is known. */
  readonly takenAt: Date
  readonly bytes: number
  readonly descriptor: Descriptor | null
}

/** Descriptors never change, so callers that list repeatedly may cache them. */
export type DescriptorCache = Map<string, Descriptor>

/** All backups in a storage, of any installation, newest first. Reads no data. */
export async function listBackups(
  storage: Storage,
  cache: DescriptorCache = new Map(),
  signal?: AbortSignal
): Promise<Backup[]> {
  const parts = new Map<string, Map<string, StoredObject>>()
  for (const object of await storage.list(ROOT, signal)) {
    const found = partOf(object.name)
    if (found === null) continue
    const known = parts.get(found.id) ?? new Map<string, StoredObject>()
    parts.set(found.id, known.set(found.part, object))
  }
  for (const id of cache.keys()) if (!parts.has(id)) cache.delete(id)
  const backups: Backup[] = []
  for (const [id, objects] of parts) {
    const backup = await describe(storage, id, objects, cache, signal)
    if (backup !== null) backups.push(backup)
  }
  return backups.sort((a, b) => b.takenAt.getTime() - a.takenAt.getTime() || (a.id < b.id ? 1 : -1))
}

/** Null if it has been removed meanwhile. */
async function describe(
  storage: Storage,
  id: string,
  objects: ReadonlyMap<string, StoredObject>,
  cache: DescriptorCache,
  signal?: AbortSignal
): Promise<Backup | null> {
  const bytes = [...objects.values()].reduce((sum, object) => sum + object.bytes, 0)
  const bare = { id, problem: null, installation: null, takenAt: instantOf(id), bytes, descriptor: null }
  if (!objects.has(DESCRIPTOR)) {
    const begun = objects.has(BEGUN) ? await readJson(storage, objectOf(id, BEGUN), signal) : null
    const installation = (begun as { installation?: string } | null)?.installation ?? null
    return { ...bare, state: 'unfinished', installation }
  }
  let descriptor = cache.get(id)
  if (descriptor === undefined) {
    const text = await readText(storage, objectOf(id, DESCRIPTOR), signal)
    if (text === null) return null
    try {
      descriptor = parseDescriptor(text)
    } catch (error) {
      return { ...bare, state: 'damaged', problem: `${DESCRIPTOR}: ${(error as Error).message}` }
    }
    cache.set(id, descriptor)
  }
  const problem = problemOf(descriptor, objects)
  const { installation } = descriptor
  const takenAt = new Date(descriptor.takenAt)
  return { ...bare, state: problem === null ? 'verified' : 'damaged', problem, installation, takenAt, descriptor }
}

function problemOf(descriptor: Descriptor, objects: ReadonlyMap<string, StoredObject>): string | null {
  for (const [part, mark] of [
    [DATA, descriptor.data],
    [KEYS, descriptor.keys]
  ] as const) {
    const stored = objects.get(part)
    if (stored === undefined) return `${part} is missing`
    if (stored.bytes !== mark.bytes) return `${part} has ${stored.bytes} bytes, and ${mark.bytes} were written`
  }
  return null
}

/** `20300131T020000Z-1a2b3c4d` */
function instantOf(id: string): Date {
  return new Date(id.slice(0, 16).replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z'))
}

async function readJson(storage: Storage, name: string, signal?: AbortSignal): Promise<unknown> {
  const text = await readText(storage, name, signal)
  try {
    return text === null ? null : JSON.parse(text)
  } catch {
    return null // cut off while it was written
  }
}

async function readText(storage: Storage, name: string, signal?: AbortSignal): Promise<string | null> {
  try {
    return Buffer.concat((await Array.fromAsync(await storage.get(name, signal))) as Buffer[]).toString()
  } catch (error) {
    if ((error as { failure?: string }).failure === 'missing') return null
    throw error
  }
}

/**
 * The requested backup.
 * @param wanted an id, or `latest`
 * @throws Error that lists the available ones
 */
export function chooseBackup(backups: readonly Backup[], wanted: string): Backup & { descriptor: Descriptor } {
  if (wanted === 'latest') {
    const verified = backups.filter(isVerified)
    const installations = new Set(verified.map(({ installation }) => installation))
    if (installations.size > 1)
      throw new Error(
        'there are backups of several installations here: name one by its id, as "rhone backup list" has it'
      )
    const [newest] = verified
    if (newest === undefined) throw new Error('there is no complete backup here')
    return newest
  }
  const found = backups.find(({ id }) => id === wanted)
  if (found === undefined)
    throw new Error(`there is no backup ${wanted}: "rhone backup list" names those that there are`)
  if (!isVerified(found))
    throw new Error(`backup ${wanted} is ${found.state}${found.problem ? `: ${found.problem}` : ''}`)
  return found
}

export function isVerified(backup: Backup): backup is Backup & { descriptor: Descriptor } {
  return backup.state === 'verified' && backup.descriptor !== null
}
