import { errors } from '../../../plugins/lib/errors.ts'

/** An object with a change counter. */
export interface Versioned {
  id: string
  version: number
}

/**
 * The entity tag of one version. It includes part of the id, so that an object recreated under the same slug does not
 * match the deleted one.
 */
export function entityTag({ id, version }: Versioned): string {
  return `"${version}-${id.slice(0, 8)}"`
}

/** The entity tag for a form on a page, which knows only the version: its URL identifies the object. */
export function formTag(version: number | string): string {
  return `"form-${version}"`
}

/**
 * The version that a change must find, according to its If-Match.
 *
 * @returns undefined when any version will do
 * @throws PRECONDITION_FAILED when the client does not know the current version
 */
export function expectedVersion(ifMatch: string | undefined, current: Versioned): number | undefined {
  if (ifMatch === undefined || ifMatch.trim() === '*') return undefined
  const accepted = [entityTag(current), formTag(current.version)]
  if (!entityTags(ifMatch).some(tag => accepted.includes(tag))) throw errors.preconditionFailed()
  return current.version
}

/** Whether a client that sent this If-None-Match already has the current version. */
export function isKnown(ifNoneMatch: string | undefined, current: Versioned): boolean {
  if (ifNoneMatch === undefined) return false
  if (ifNoneMatch.trim() === '*') return true
  return entityTags(ifNoneMatch).some(tag => tag.replace(/^W\//, '') === entityTag(current))
}

function entityTags(header: string): string[] {
  return header.match(/(?:W\/)?"[^"]*"/g) ?? []
}
