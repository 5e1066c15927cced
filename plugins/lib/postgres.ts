import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import type { ConnectionOptions } from 'node:tls'
import { AppError, causesOf } from './errors.ts'

/** A connection URL as postgres.js options. */
export interface PostgresTarget {
  host: string
  port: number
  /** A Unix socket, used instead of host and port. */
  path?: string
  database: string
  username: string
  password: string
  ssl: false | 'prefer' | ConnectionOptions
  /** Session parameters. */
  connection: Record<string, string>
}

/**
 * Parses a connection URL the way libpq does. postgres.js differs: it verifies the server only for `verify-full`, does
 * not support certificate files, and sends unknown parameters to the server, which refuses them.
 *
 * | sslmode | encrypted | the server is |
 * |---|---|---|
 * | `disable` | no | anyone |
 * | `allow`, `prefer` (default) | if the server can | anyone |
 * | `require` | yes | anyone; with `sslrootcert` as `verify-ca` |
 * | `verify-ca` | yes | signed by a trusted authority |
 * | `verify-full` | yes | and named as in the URL |
 *
 * `sslrootcert` sets the trusted authorities: a file, or `system` for those that Node trusts, which is the default and
 * implies `verify-full`. `sslcert` and `sslkey` are the client certificate. `channel_binding` is accepted but ignored.
 * So is `target_session_attrs`, which may only ask for what is done anyway: to use the host that takes writes.
 *
 * @throws Error if the URL is not a PostgreSQL URL, names several hosts, or has a parameter not listed here
 */
export function postgresTarget(text: string): PostgresTarget {
  const url = parseUrl(text)
  const parameters = Object.fromEntries(url.searchParams)
  for (const name of Object.keys(parameters))
    if (!PARAMETERS.has(name)) throw new Error(`the database URL has the unknown parameter "${name}"`)
  const { target_session_attrs: wanted = 'primary' } = parameters
  if (wanted !== 'primary' && wanted !== 'read-write')
    throw new Error(`the database URL has target_session_attrs=${wanted}; it must be primary or read-write`)

  const host = parameters.host ?? decodeURIComponent(url.hostname).replace(/^\[(.*)\]$/, '$1')
  const isSocket = host.startsWith('/')
  if (!isSocket && host.includes(',')) throw new Error('this database URL must name a single host')
  const port = Number(parameters.port ?? (url.port || 5432))
  const username = decodeURIComponent(url.username) || 'postgres'

  return {
    host: isSocket ? 'localhost' : host,
    port,
    ...(isSocket && { path: `${host}/.s.PGSQL.${port}` }),
    database: decodeURIComponent(url.pathname.slice(1)) || username,
    username,
    password: decodeURIComponent(url.password),
    ssl: isSocket ? false : tlsOptions(host, parameters),
    connection: sessionParameters(parameters)
  }
}

/**
 * The URL of each host that a connection URL names, in its order. Lists are written as for libpq:
 * `postgres://user:password@a:5432,b:5432/db`, or `?host=/run/a,/run/b&port=5432,5433`.
 *
 * @throws Error if there are more or fewer ports than hosts
 */
export function hostUrls(text: string): string[] {
  const [, scheme, credentials = '', authority = '', path = '', query] = LIST_FORM.exec(text) ?? []
  if (scheme === undefined) return [text]
  const parameters = new URLSearchParams(query)
  const named = listOf(parameters.get('host') ?? '')
  const hosts = named.length > 1 ? named : listOf(authority)
  if (hosts.length < 2) return [text]

  const ports = listOf(parameters.get('port') ?? '')
  if (ports.length > 1 && ports.length !== hosts.length)
    throw new Error(`the database URL has ${hosts.length} hosts but ${ports.length} ports`)
  return hosts.map((host, at) => {
    const own = new URLSearchParams(parameters)
    if (named.length > 1) own.set('host', host)
    if (ports.length > 1) own.set('port', ports[at]!)
    const rest = own.size > 0 ? `?${own}` : ''
    return `${scheme}${credentials}${named.length > 1 ? authority : host}${path}${rest}`
  })
}

/** Every host of a connection URL as a target, in its order. @throws Error like `postgresTarget` and `hostUrls` */
export function postgresTargets(text: string): PostgresTarget[] {
  const targets = hostUrls(text).map(postgresTarget)
  const addresses = targets.map(addressOf)
  const twice = addresses.find((address, at) => addresses.indexOf(address) < at)
  if (twice !== undefined) throw new Error(`the database URL names the host ${twice} twice`)
  return targets
}

/** How people name a host: `db.example.com:5432`, or the path of its socket. */
export const addressOf = ({ host, port, path }: PostgresTarget): string =>
  path ?? (host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`)

const LIST_FORM = /^(postgres(?:ql)?:\/\/)([^/?#]*@)?([^/?#]*)([^?#]*)(?:\?([^#]*))?/

/** A single socket directory may end in a comma, so an empty entry does not make it a list. */
function listOf(text: string): string[] {
  const entries = text.split(',')
  return entries.includes('') ? [text].filter(Boolean) : entries
}

const PARAMETERS = new Set([
  'host',
  'port',
  'sslmode',
  'sslrootcert',
  'sslcert',
  'sslkey',
  'channel_binding',
  'target_session_attrs',
  'application_name',
  'options'
])
const SSL_MODES = ['disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full']

function parseUrl(text: string): URL {
  // libpq accepts a URL without a host, for example with `?host=/run/postgresql`; Node's parser does not.
  const url = URL.parse(text.replace(/^(\w+:\/\/(?:[^@/?]*@)?)(?=[/?]|$)/, '$1localhost'))
  if (url === null || !/^postgres(ql)?:$/.test(url.protocol))
    throw new Error('the database URL must have the form postgres://user:password@host:port/database')
  return url
}

function sessionParameters({ application_name, options }: Record<string, string | undefined>): Record<string, string> {
  return { ...(application_name && { application_name }), ...(options && { options }) }
}

function tlsOptions(host: string, parameters: Record<string, string | undefined>): PostgresTarget['ssl'] {
  const { sslrootcert, sslcert, sslkey } = parameters
  const trustsSystem = sslrootcert === undefined || sslrootcert === 'system'
  const mode = parameters.sslmode ?? (sslrootcert === 'system' ? 'verify-full' : 'prefer')
  if (!SSL_MODES.includes(mode))
    throw new Error(`the database URL has sslmode=${mode}; it must be one of ${SSL_MODES.join(', ')}`)
  if (mode === 'disable') return false
  if (mode === 'allow' || mode === 'prefer') return 'prefer'
  if (sslrootcert === 'system' && mode !== 'verify-full')
    throw new Error('the database URL has sslrootcert=system, which needs sslmode=verify-full')

  const options: ConnectionOptions = { host, minVersion: 'TLSv1.2' }
  if (isIP(host) === 0) options.servername = host
  if (!trustsSystem) options.ca = readFileSync(sslrootcert)
  if (sslcert !== undefined) options.cert = readFileSync(sslcert)
  if (sslkey !== undefined) options.key = readFileSync(sslkey)
  options.rejectUnauthorized = mode !== 'require' || !trustsSystem
  if (mode !== 'verify-full') options.checkServerIdentity = () => undefined
  return options
}

/**
 * The SQLSTATE of the failed statement; drizzle wraps the driver's error in its own. PgBouncer sends the severity only
 * in its localized form.
 */
export function sqlState(error: unknown): string | undefined {
  return driverErrors(error).find(cause => 'severity' in cause || 'severity_local' in cause)?.code
}

/** Why a reachable database accepts no writes: it is a standby or read-only, or the disk is full. */
export type Impairment = 'read_only' | 'full'

/** The impairment that an error indicates. */
export function impairmentOf(error: unknown): Impairment | undefined {
  return IMPAIRMENTS[sqlState(error) ?? '']
}

const IMPAIRMENTS: Readonly<Record<string, Impairment>> = { '25006': 'read_only', '53100': 'full' }

/** Whether an error means that the database is unreachable or accepts no connections at present. */
export function isUnreachable(error: unknown): boolean {
  return driverErrors(error).some(
    ({ code = '', syscall }) =>
      UNREACHABLE.has(code) || UNREACHABLE_STATES.test(code) || (code === 'ENOENT' && syscall === 'connect')
  )
}

/** Whether an operation may succeed later: the database is unreachable, accepts no writes, or is overloaded. */
export const isTransient = (error: unknown): boolean =>
  isUnreachable(error) || impairmentOf(error) !== undefined || (error instanceof AppError && error.statusCode === 503)

function driverErrors(error: unknown): NodeJS.ErrnoException[] {
  return causesOf(error)
}

const UNREACHABLE = new Set([
  // from the driver
  'CONNECTION_CLOSED',
  'CONNECTION_ENDED',
  'CONNECTION_DESTROYED',
  'CONNECT_TIMEOUT',
  // from the network
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'EHOSTDOWN',
  'ENETUNREACH',
  'ENETDOWN',
  'ENOTFOUND',
  'EAI_AGAIN'
])
/** Connection exceptions, server starting up or shutting down, too many connections. */
const UNREACHABLE_STATES = /^(08...|57P..|53300)$/
