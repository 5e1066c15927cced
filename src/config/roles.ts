/** A role that may not log in owns everything; two roles that act as it log in in turn. */
export interface AlternatingRoles {
  readonly owner: string
  /** The one that is in use. */
  readonly current: string
  readonly next: string
}

/** @param current the role that servers log in as; the first time, that of the owner itself */
export function alternatingRoles(current: string): AlternatingRoles {
  const owner = current.replace(/_[ab]$/, '')
  return { owner, current, next: current === `${owner}_a` ? `${owner}_b` : `${owner}_a` }
}

/**
 * A URL of the same database by another way, with the role and password of the main URL if it names another role of the
 * same turn: that one may soon log in no more. So one rotation is enough for all ways.
 */
export function inTurnWith(main: string, url: string): string {
  const [role, own] = [roleOf(main), roleOf(url)]
  if (role === undefined || own === undefined || role === own) return url
  return alternatingRoles(role).owner === alternatingRoles(own).owner ? asRoleOf(main, url) : url
}

/** The URL with the role and password of the main URL, if it names no role itself. */
export function asMainRole(main: string, url: string): string {
  return roleOf(url) === undefined ? asRoleOf(main, url) : url
}

const FORM = /^([\w+.-]+:\/\/)(?:([^/?#]*)@)?/

function roleOf(url: string): string | undefined {
  const [role = ''] = credentialsOf(url).split(':')
  return role === '' ? undefined : decodeURIComponent(role)
}

const credentialsOf = (url: string) => FORM.exec(url)?.[2] ?? ''

function asRoleOf(main: string, url: string): string {
  const credentials = credentialsOf(main)
  return credentials === '' ? url : url.replace(FORM, (_, scheme) => `${scheme}${credentials}@`)
}
