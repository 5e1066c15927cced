import { createPrivateKey } from 'node:crypto'
import { isIP } from 'node:net'
import { availableParallelism } from 'node:os'

/* How the values of single variables are read. Each throws an Error with what is wrong, to be said after the name. */

/** `false` leaves a plugin out; a string is the path of the module that takes its place. */
export type SwapSetting = false | string

export type TrustProxy = 'none' | 'fly' | readonly string[]

export function isLoopback(url: string): boolean {
  return /\/\/([^@/]*@)?(localhost|127\.\d+\.\d+\.\d+|\[::1\])(?=[:/]|$)/.test(url)
}

export function list(value: string): string[] {
  return value
    .split(',')
    .map(part => part.trim())
    .filter(Boolean)
}

export function parseBaseUrl(value: string): URL {
  const url = URL.parse(value)
  if (url === null || !/^https?:$/.test(url.protocol)) throw new Error('must be an http or https URL')
  if (url.username || url.password) throw new Error('must have no user and password')
  if (url.pathname !== '/' || url.search || url.hash) throw new Error('must have no path, query or fragment')
  return url
}

/** Without a slash at the end, so that paths can be appended. */
export function parseServiceUrl(value: string): string {
  const url = URL.parse(value)
  if (url === null || !/^https?:$/.test(url.protocol)) throw new Error('must be an http or https URL')
  if (url.search || url.hash || url.username) throw new Error('must have no query, fragment or user')
  return url.href.replace(/\/+$/, '')
}

/** PEM, also on one line with `\\n` for its ends, or all of it in base64; always given back as PEM. */
export function parsePrivateKey(value: string): string {
  const text = value.includes('-----BEGIN')
    ? value.replaceAll('\\n', '\n')
    : Buffer.from(value, 'base64').toString('utf8')
  try {
    return createPrivateKey(text).export({ type: 'pkcs8', format: 'pem' }).toString()
  } catch {
    throw new Error('must be a private key as PEM, or that in base64')
  }
}

export function parseBuildkitHost(value: string): string {
  const url = URL.parse(value)
  if (url?.protocol === 'tcp:' && url.hostname && url.port) return value
  throw new Error('must be tcp://host:port')
}

export function apiOf(githubUrl: string): string {
  return githubUrl === 'https://github.com' ? 'https://api.github.com' : `${githubUrl}/api/v3`
}

export function parseTrustProxy(value: string): TrustProxy {
  if (value === 'none' || value === 'fly') return value
  const blocks = list(value)
  for (const block of blocks) {
    const [address = '', prefix = ''] = block.split('/')
    const bits = isIP(address) === 6 ? 128 : 32
    if (isIP(address) === 0 || !/^\d{1,3}$/.test(prefix) || Number(prefix) > bits)
      throw new Error(`"${block}" is not a CIDR; give none, fly, or CIDRs such as 10.0.0.0/8`)
  }
  return blocks
}

export function parseOrigins(value: string): string[] {
  const origins = list(value)
  const isExact = (origin: string) => /^https?:\/\/[^*]+$/.test(origin) && URL.parse(origin)?.origin === origin
  const inexact = origins.filter(origin => !isExact(origin))
  if (inexact.length === 0) return origins
  throw new Error(`${inexact.join(' and ')}: not an exact origin such as https://app.example.com`)
}

/** Elsewhere the system gives all connections of a shared port to one socket, or does not share it. */
const BALANCED_PORTS: readonly NodeJS.Platform[] = ['linux', 'freebsd', 'sunos', 'aix']
const MAX_WORKERS = 64

export function parseWorkers(value: string): number {
  const isBalanced = BALANCED_PORTS.includes(process.platform)
  if (value === 'auto') return isBalanced ? Math.min(availableParallelism(), MAX_WORKERS) : 1
  const workers = /^\d{1,2}$/.test(value) ? Number(value) : 0
  if (workers < 1 || workers > MAX_WORKERS) throw new Error(`"${value}" is neither auto nor a number from 1 to 64`)
  if (workers > 1 && !isBalanced) throw new Error(`${process.platform} cannot share a port among threads; it takes 1`)
  return workers
}

export function parseSwaps(value: string): Record<string, SwapSetting> {
  const swaps = new Map<string, SwapSetting>()
  for (const entry of list(value)) {
    const [, name, target] = /^([^=]+)=(.+)$/.exec(entry) ?? []
    if (!name || !target) throw new Error(`"${entry}" must be name=off or name=./module.ts`)
    if (swaps.has(name)) throw new Error(`"${name}" is given twice`)
    swaps.set(name, target === 'off' ? false : target)
  }
  return Object.fromEntries(swaps)
}

export function parseBearer(value: string): string {
  if (/^[\x21-\x7e]+$/.test(value)) return value
  throw new Error('must be printable ASCII without spaces, or no scraper could send it')
}
