import { errors } from '../../../plugins/lib/errors.ts'

/** Something whose changes are counted. */
export interface Versioned {
  id: string
  version: number
}

/**
 * The entity tag of one version. Part of the id is in it, so that what is deleted and made anew under the same slug is
 * not taken for the old one.
 */
export function entityTag({ id, version }: Versioned): string {
  return `"${version}-${id.slice(0, 8)}"`
}

/**
 * The version that a change must find, by its If-Match.
 *
 * @returns undefined when any version will do
 * @throws PRECONDITION_FAILED when what is there now is none of those that the client knows
 */
export function expectedVersion(ifMatch: string | undefined, current: Versioned): number | undefined {
  if (ifMatch === undefined || ifMatch.trim() === '*') return undefined
  if (!entityTags(ifMatch).includes(entityTag(current))) throw errors.preconditionFailed()
  return current.version
}

/** Whether a client that sent this If-None-Match has what there is now. */
export function isKnown(ifNoneMatch: string | undefined, current: Versioned): boolean {
  if (ifNoneMatch === undefined) return false
  if (ifNoneMatch.trim() === '*') return true
  return entityTags(ifNoneMatch).some(tag => tag.replace(/^W\//, '') === entityTag(current))
}

function entityTags(header: string): string[] {
  return header.match(/(?:W\/)?"[^"]*"/g) ?? []
}
