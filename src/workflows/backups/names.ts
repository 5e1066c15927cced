/* The objects of a backup, `backups/<id>/...`. */

/** Written first: names the installation in case the backup is never finished. */
export const BEGUN = 'begun.json'
export const DATA = 'data.tar.zst.age'
export const KEYS = 'keys.json.zst.age'
/** Written last: without it, the others do not count. */
export const DESCRIPTOR = 'backup.json'

export const ROOT = 'backups/'

const NAME = /^backups\/(\d{8}T\d{6}Z-[0-9a-f]{8})\/([a-z.]+)$/

export const objectOf = (id: string, part: string): string => `${ROOT}${id}/${part}`

/** Null for an object that is not part of a backup. */
export function partOf(name: string): { id: string; part: string } | null {
  const [, id, part] = NAME.exec(name) ?? []
  return id && part ? { id, part } : null
}
