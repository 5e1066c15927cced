import { readFileSync } from 'node:fs'
import { availableParallelism, totalmem } from 'node:os'
import { resolve } from 'node:path'
import { createSecureContext } from 'node:tls'
import { Type } from '@sinclair/typebox'
import packageJson from '../../package.json' with { type: 'json' }
import { oneOf, optional, type Reader, section, text } from './section.ts'
import { list } from './values.ts'

/** `false` omits a plugin; a string is the path of the module that replaces it. */
export type SwapSetting = false | string

export interface TlsFiles {
  readonly certFile: string
  readonly keyFile: string
}

/** The process and the addresses it is reached at. */
export interface ServerSettings {
  readonly environment: Reader<object>['environment']
  /** Also true in staging: both are protected alike. */
  readonly production: boolean
  readonly version: string
  readonly host: string
  readonly port: number
  readonly baseUrl: URL
  /** Where to report vulnerabilities: a mailto: or https URL. */
  readonly securityContact: string | null
  readonly tls: TlsFiles | null
  readonly dataDir: string
  readonly logLevel: string
  /** Seconds. */
  readonly drainGrace: number
  readonly workers: number
  /** Memory budget of this process in bytes; the reference for memory pressure. */
  readonly memoryLimit: number
  readonly swaps: Readonly<Record<string, SwapSetting>>
  /** The optimizations in use. */
  readonly shortcuts: ReadonlySet<Shortcut>
}

/**
 * Optimizations that rely on undocumented behaviour of Node or drizzle, or on a bundle that agrees with the sources. Each
 * one checks at boot that it works here; without them everything works the same, only slower.
 */
export const SHORTCUTS = ['heads', 'batching', 'sockets', 'queries', 'imports', 'bundle'] as const
export type Shortcut = (typeof SHORTCUTS)[number]

const variables = {
  ENVIRONMENT: oneOf(['development', 'staging', 'production'], {
    default: 'development',
    description: 'Staging and production refuse to boot on missing or placeholder secrets and unsafe settings.'
  }),
  HOST: optional(text('The address to listen on; 127.0.0.1 in development, 0.0.0.0 otherwise.')),
  PORT: Type.Integer({
    default: 8080,
    minimum: 0,
    maximum: 65_535,
    description: 'The port to listen on; 0 picks one.'
  }),
  BASE_URL: optional(text('Where clients reach the server. https turns on HSTS and Secure cookies.')),
  SECURITY_CONTACT: optional(
    text('Where to report vulnerabilities: a mailto: or https URL; security@ the host of BASE_URL when unset.')
  ),
  TLS_CERT_FILE: optional(text('PEM certificate chain: serve HTTPS without a proxy. Read again on SIGHUP.')),
  TLS_KEY_FILE: optional(text('PEM private key of TLS_CERT_FILE.')),
  DATA_DIR: text('The embedded database and local state.', { default: '.rhone' }),
  LOG_LEVEL: oneOf(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'], {
    default: 'info',
    description: 'The lowest level that is logged.'
  }),
  DRAIN_GRACE: optional(
    Type.Integer({
      minimum: 0,
      maximum: 20, // leaves some of the 25 s after which open connections are closed
      description: 'Seconds to keep serving after a stop signal; 5, or 0 in development.'
    })
  ),
  RHONE_WORKERS: text('Number of worker threads: 1 to 64, or auto for one per core.', { default: '1' }),
  MEMORY_LIMIT: optional(
    Type.Integer({
      minimum: 1,
      description:
        'Memory limit in bytes, for load shedding; when unset, the limit of the container or the memory of the machine.'
    })
  ),
  RHONE_SWAP: optional(text('Plugins to replace or leave out: cors=off,rate-limit=./my-limiter.ts')),
  RHONE_SHORTCUTS_OFF: optional(
    text(`Shortcuts through undocumented parts of Node, drizzle and postgres.js to turn off: ${SHORTCUTS.join(', ')}.`)
  ),
  RHONE_VERSION: text('The version shown in replies and metrics.', { default: packageJson.version })
}

export default section(variables, reader => {
  const { env, environment, production, parse } = reader
  const tls = readTlsFiles(reader)
  const scheme = tls === null ? 'http' : 'https'
  const settings: ServerSettings = {
    environment,
    production,
    version: env.RHONE_VERSION,
    host: env.HOST ?? (production ? '0.0.0.0' : '127.0.0.1'),
    port: env.PORT,
    baseUrl: readBaseUrl(reader) ?? localUrl(scheme, env.PORT),
    securityContact: parse('SECURITY_CONTACT', parseContact),
    tls,
    dataDir: resolve(env.DATA_DIR),
    logLevel: env.LOG_LEVEL,
    drainGrace: env.DRAIN_GRACE ?? (production ? 5 : 0),
    workers: parse('RHONE_WORKERS', parseWorkers)!,
    memoryLimit: env.MEMORY_LIMIT ?? availableMemory(process.constrainedMemory(), totalmem()),
    swaps: parse('RHONE_SWAP', parseSwaps) ?? {},
    shortcuts: parse('RHONE_SHORTCUTS_OFF', parseShortcuts) ?? new Set(SHORTCUTS)
  }
  return settings
})

/** Over plain http, cookies would lack Secure, browsers would get no HSTS, and sign-ins would return unencrypted. */
function readBaseUrl({ env, environment, production, parse, refuse }: Reader<{ BASE_URL?: string }>): URL | null {
  const url = parse('BASE_URL', parseBaseUrl)
  if (!production) return url
  if (env.BASE_URL === undefined)
    refuse(`BASE_URL: is required in ${environment}: the address that clients use, such as https://rhone.example.com`)
  else if (url?.protocol === 'http:') refuse(`BASE_URL: must be https in ${environment}`)
  return url
}

/**
 * The memory that the container grants this process, or else the machine's memory.
 *
 * @param constrained bytes that the cgroup allows; 0 or an absurdly large number when it sets no limit
 */
export function availableMemory(constrained: number, total: number): number {
  return constrained > 0 && constrained < total ? constrained : total
}

/** An invalid port has already been reported. */
function localUrl(scheme: string, port: number): URL {
  return URL.parse(`${scheme}://localhost:${port}`) ?? new URL(`${scheme}://localhost`)
}

/** @throws Error when a file cannot be read */
export function readTls(files: TlsFiles): { cert: Buffer; key: Buffer } {
  return { cert: readFileSync(files.certFile), key: readFileSync(files.keyFile) }
}

function readTlsFiles(reader: Reader<{ TLS_CERT_FILE?: string; TLS_KEY_FILE?: string }>): TlsFiles | null {
  const { TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile } = reader.env
  if (certFile === undefined && keyFile === undefined) return null
  if (certFile === undefined || keyFile === undefined) {
    reader.refuse('TLS_CERT_FILE and TLS_KEY_FILE: set both or neither')
    return null
  }
  reader.parse('TLS_CERT_FILE', () => createSecureContext(readTls({ certFile, keyFile })))
  return { certFile, keyFile }
}

function parseBaseUrl(value: string): URL {
  const url = URL.parse(value)
  if (url === null || !/^https?:$/.test(url.protocol)) throw new Error('must be an http or https URL')
  if (url.username || url.password) throw new Error('must not contain a user or password')
  if (url.pathname !== '/' || url.search || url.hash) throw new Error('must have no path, query or fragment')
  return url
}

function parseContact(value: string): string {
  if (/^(mailto:[^@\s]+@[^@\s]+|https:\/\/\S+)$/.test(value)) return value
  throw new Error('must be a URL such as mailto:security@example.com or https://example.com/security')
}

/** Other systems either send all connections on a shared port to one socket or do not support sharing. */
const BALANCED_PORTS: readonly NodeJS.Platform[] = ['linux', 'freebsd', 'sunos', 'aix']
const MAX_WORKERS = 64

function parseWorkers(value: string): number {
  const isBalanced = BALANCED_PORTS.includes(process.platform)
  if (value === 'auto') return isBalanced ? Math.min(availableParallelism(), MAX_WORKERS) : 1
  const workers = /^\d{1,2}$/.test(value) ? Number(value) : 0
  if (workers < 1 || workers > MAX_WORKERS) throw new Error(`"${value}" must be auto or a number from 1 to 64`)
  if (workers > 1 && !isBalanced) throw new Error(`${process.platform} cannot share a port among threads; set it to 1`)
  return workers
}

function parseSwaps(value: string): Record<string, SwapSetting> {
  const swaps = new Map<string, SwapSetting>()
  for (const entry of list(value)) {
    const [, name, target] = /^([^=]+)=(.+)$/.exec(entry) ?? []
    if (!name || !target) throw new Error(`"${entry}" must be name=off or name=./module.ts`)
    if (swaps.has(name)) throw new Error(`"${name}" is listed twice`)
    swaps.set(name, target === 'off' ? false : target)
  }
  return Object.fromEntries(swaps)
}

function parseShortcuts(off: string): Set<Shortcut> {
  const shortcuts = new Set<string>(SHORTCUTS)
  for (const name of list(off))
    if (!shortcuts.delete(name)) throw new Error(`"${name}" is not one of ${SHORTCUTS.join(', ')}, or is listed twice`)
  return shortcuts as Set<Shortcut>
}
