import type { Reader } from './section.ts'

/* Parsers and checks for values that several sections share. */

export function isLoopback(url: string): boolean {
  return /\/\/([^@/]*@)?(localhost|127\.\d+\.\d+\.\d+|\[::1\])(?=[:/]|$)/.test(url)
}

export function list(value: string): string[] {
  return value
    .split(',')
    .map(part => part.trim())
    .filter(Boolean)
}

/** Without a trailing slash, so that paths can be appended. */
export function parseServiceUrl(value: string): string {
  const url = URL.parse(value)
  if (url === null || !/^https?:$/.test(url.protocol)) throw new Error('must be an http or https URL')
  if (url.search || url.hash || url.username) throw new Error('must have no query, fragment or user')
  return url.href.replace(/\/+$/, '')
}

/** Reports the unset variables when `what` needs all of them. */
export function missing<Env>({ env, refuse }: Reader<Env>, what: string, names: readonly (keyof Env & string)[]): void {
  const unset = names.filter(name => env[name] === undefined)
  if (unset.length > 0) refuse(`${unset.join(', ')}: ${what} needs ${names.join(', ')}`)
}

/** In production, secrets must travel encrypted. */
export function refusePlainHttp<Env>(
  { env, production, refuse }: Reader<Env>,
  names: readonly (keyof Env & string)[]
): void {
  if (!production) return
  for (const name of names) {
    const url = String(env[name] ?? '')
    if (url.startsWith('http:') && !isLoopback(url)) refuse(`${name}: must be https, because it receives secrets`)
  }
}
