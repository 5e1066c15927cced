import { createPrivateKey } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { availableParallelism } from 'node:os'
import { resolve } from 'node:path'
import { createSecureContext } from 'node:tls'
import { type Static, type TSchema, Type } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import packageJson from '../package.json' with { type: 'json' }
import { type PostgresTarget, postgresTarget } from '../plugins/lib/postgres.ts'
import { parseRate, type Rate } from '../plugins/rate-limit/rate.ts'
import { redisTarget } from '../plugins/redis/target.ts'
import { type Keyring, parseKeyring } from './keyring.ts'

const text = (description: string, options: object = {}) => Type.String({ minLength: 1, description, ...options })
const optional = <Schema extends TSchema>(schema: Schema) => Type.Optional(schema)
const rate = (fallback: string, description: string) =>
  text(`${description} Rate per unit : burst.`, { default: fallback })

/** Every variable that the server and its command line read. `.env.example` lists the same keys. */
export const Environment = Type.Object({
  ENVIRONMENT: Type.Union([Type.Literal('development'), Type.Literal('staging'), Type.Literal('production')], {
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
  TLS_CERT_FILE: optional(text('PEM certificate chain: serve HTTPS without a proxy. Read again on SIGHUP.')),
  TLS_KEY_FILE: optional(text('PEM private key of TLS_CERT_FILE.')),
  DATA_DIR: text('The embedded database and local state.', { default: '.rhone' }),
  DATABASE_URL: optional(text('PostgreSQL; an embedded one under DATA_DIR when unset.')),
  DATABASE_DIRECT_URL: optional(text('PostgreSQL past a transaction pooler, for migrations and LISTEN.')),
  DATABASE_POOL_MAX: Type.Integer({ default: 10, minimum: 1, maximum: 500, description: 'Connections per instance.' }),
  MAX_CONNECTIONS: Type.Integer({ default: 10_000, minimum: 1, description: 'Open connections of clients at a time.' }),
  REDIS_URL: optional(text('Redis or Valkey, for limits and cache shared by all instances.')),
  TRUST_PROXY: text('none, fly, or the CIDRs of the proxies whose X-Forwarded-For is believed.', { default: 'none' }),
  CORS_ORIGINS: optional(text('Exact origins that browsers may call the API from.')),
  METRICS_TOKEN: optional(text('Bearer token of /metrics; when unset, loopback only and in development only.')),
  LOG_LEVEL: Type.Union(
    ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'].map(level => Type.Literal(level)),
    { default: 'info', description: 'The least severe level that is logged.' }
  ),
  SESSION_KEYS: optional(text('Keyring for sessions: id:base64,id:base64, newest first.')),
  ENCRYPTION_KEYS: optional(text('Keyring for stored secrets.')),
  SIGNING_KEYS: optional(text('Keyring for signed access tokens.')),
  GITHUB_CLIENT_ID: optional(text('The OAuth app by which people sign in with GitHub; off when unset.')),
  GITHUB_CLIENT_SECRET: optional(text('The secret of that OAuth app.')),
  GITHUB_URL: text('GitHub, or a GitHub Enterprise Server.', { default: 'https://github.com' }),
  GITHUB_API_URL: optional(text('Its API; https://api.github.com, or /api/v3 of GITHUB_URL.')),
  GITHUB_APP_ID: optional(
    Type.Integer({ minimum: 1, description: 'The GitHub App that reads repositories; off when unset.' })
  ),
  GITHUB_APP_PRIVATE_KEY: optional(text('Its private key: PEM, or PEM in base64.')),
  GITHUB_APP_SLUG: optional(text('What its address on GitHub ends with.')),
  GITHUB_WEBHOOK_SECRET: optional(text('The secret of its webhook; a list while rotating.')),
  FLY_API_TOKEN: optional(text('Deploys to Fly Machines; off when unset.')),
  FLY_ORG: text('The organization at Fly that apps belong to.', { default: 'rhone' }),
  FLY_API_URL: text('The Machines API.', { default: 'https://api.machines.dev' }),
  FLY_GRAPHQL_URL: text('The GraphQL API of Fly.', { default: 'https://api.fly.io/graphql' }),
  DEPLOYER: optional(
    Type.Union([Type.Literal('local'), Type.Literal('fly')], {
      description: 'Where apps run: fly with a token; else, in development, as processes of this machine.'
    })
  ),
  BUILDER: optional(
    Type.Union([Type.Literal('local'), Type.Literal('buildkit'), Type.Literal('image')], {
      description:
        'What builds: local for local apps, buildkit with BUILDKIT_HOST; image deploys what others have built.'
    })
  ),
  BUILDKIT_HOST: optional(text('buildkitd, as tcp://host:port; with TLS on both sides.')),
  BUILDKIT_CA_FILE: optional(text('PEM of who has signed the certificate of buildkitd.')),
  BUILDKIT_CERT_FILE: optional(text('PEM of our certificate for buildkitd.')),
  BUILDKIT_KEY_FILE: optional(text('PEM private key of BUILDKIT_CERT_FILE.')),
  REGISTRY: text('Where images are pushed to.', { default: 'registry.fly.io' }),
  REGISTRY_TOKEN: optional(text('Its token; that of Fly when unset.')),
  APPS_PORT: Type.Integer({
    default: 8090,
    minimum: 0,
    maximum: 65_535,
    description: 'Where local apps are served, by host name; 0 picks a port.'
  }),
  LOCAL_ACCOUNTS: Type.Boolean({ default: false, description: 'Take passwords, for accounts made by `user create`.' }),
  RATE_LIMIT_GENERAL: rate('100/s:200', 'Every route without a class of its own, by address.'),
  RATE_LIMIT_AUTH: rate('5/s:10', 'Signing in, by address.'),
  RATE_LIMIT_DEPLOY: rate('10/m:5', 'Deploying, by address.'),
  RATE_LIMIT_WEBHOOK: rate('100/s:500', 'Incoming webhooks, by address.'),
  RATE_LIMIT_STRICT: rate('0.1/s:5', 'Sensitive operations, by address.'),
  RATE_LIMIT_USER: rate('100/s:200', 'All requests of one user.'),
  DRAIN_GRACE: optional(
    Type.Integer({
      minimum: 0,
      maximum: 20, // or nothing would be left of the 25 s after which whatever is open is cut off
      description: 'Seconds to keep serving after a stop signal; 5, or 0 in development.'
    })
  ),
  RHONE_WORKERS: text('How many threads serve: 1 to 64, or auto for one per core.', { default: '1' }),
  RHONE_SWAP: optional(text('Plugins to replace or leave out: cors=off,rate-limit=./my-limiter.ts')),
  RHONE_VERSION: text('The version that replies and metrics name.', { default: packageJson.version }),
  RHONE_URL: optional(text('Command line: the server to speak to; the local one when unset.')),
  RHONE_TOKEN: optional(text('Command line: the API token; DATA_DIR/operator-token when unset.'))
})
type Environment = Static<typeof Environment>
export type Variables = Readonly<Record<string, string | undefined>>

/** `false` leaves a plugin out; a string is the path of the module that takes its place. */
export type SwapSetting = false | string

export interface Config {
  readonly environment: Environment['ENVIRONMENT']
  /** Staging is production, too: whatever protects the one is on in the other. */
  readonly production: boolean
  readonly version: string
  readonly host: string
  readonly port: number
  readonly baseUrl: URL
  readonly tls: { readonly certFile: string; readonly keyFile: string } | null
  readonly dataDir: string
  readonly database: { readonly url: string | null; readonly directUrl: string | null; readonly poolMax: number }
  readonly maxConnections: number
  readonly redisUrl: string | null
  readonly trustProxy: 'none' | 'fly' | readonly string[]
  readonly corsOrigins: readonly string[]
  readonly metricsToken: string | null
  readonly logLevel: string
  /** Null in development when unset: the process edge then makes keys of its own and keeps them. */
  readonly keys: {
    readonly session: Keyring | null
    readonly encryption: Keyring | null
    readonly signing: Keyring | null
  }
  /** The OAuth app that people sign in by. */
  readonly github: {
    readonly clientId: string
    readonly clientSecret: string
    readonly url: string
    readonly apiUrl: string
  } | null
  readonly githubApp: {
    readonly id: number
    /** PEM. */
    readonly privateKey: string
    readonly slug: string
  } | null
  /** Newest first; several while rotating. */
  readonly githubWebhookSecrets: readonly string[]
  /** GitHub, whether or not anything is configured there. */
  readonly githubUrls: { readonly url: string; readonly apiUrl: string }
  readonly fly: {
    readonly token: string
    readonly org: string
    readonly apiUrl: string
    readonly graphqlUrl: string
  } | null
  /** Null: nothing can be deployed. */
  readonly deployer: 'local' | 'fly' | null
  readonly builder: 'local' | 'buildkit' | 'image' | null
  readonly buildkit: {
    readonly host: string
    readonly caFile: string
    readonly certFile: string
    readonly keyFile: string
  } | null
  readonly registry: { readonly host: string; readonly token: string | null }
  readonly appsPort: number
  readonly localAccounts: boolean
  readonly rates: Readonly<Record<RateClass, Rate>>
  /** Seconds. */
  readonly drainGrace: number
  readonly workers: number
  readonly swaps: Readonly<Record<string, SwapSetting>>
  readonly client: { readonly url: string | null; readonly token: string | null }
}
export type RateClass = 'general' | 'auth' | 'deploy' | 'webhook' | 'strict' | 'user'

/** Everything that is wrong with the environment, at once. The process exits with 78 (EX_CONFIG of sysexits). */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
  static readonly exitCode = 78
  readonly problems: readonly string[]
  constructor(problems: readonly string[]) {
    super(`the environment is not usable:\n${problems.map(problem => `  ${problem}`).join('\n')}`)
    this.problems = problems
  }
}

/**
 * The process's environment, with `.env` of the working directory beneath it in development.
 *
 * @throws ConfigError when there is a `.env` that cannot be read
 */
export function readEnvironment(): Variables {
  if ((process.env.ENVIRONMENT || 'development') === 'development') {
    try {
      process.loadEnvFile('.env')
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException
      if (code !== 'ENOENT') throw new ConfigError([`.env: cannot be read (${message})`])
    }
  }
  return process.env
}

/** @throws ConfigError that names every variable that is wrong, and why */
export function loadConfig(variables: Variables): Config {
  const problems: string[] = []
  const env = checkTypes(resolveFiles(variables, problems), problems)

  const attempt = <T>(name: keyof Environment, parse: (value: string) => T): T | null => {
    const value = env[name]
    if (value === undefined) return null
    try {
      return parse(String(value))
    } catch (error) {
      problems.push(`${name}: ${(error as Error).message}`)
      return null
    }
  }

  const production = env.ENVIRONMENT !== 'development'
  const parsed = {
    baseUrl: attempt('BASE_URL', parseBaseUrl),
    trustProxy: attempt('TRUST_PROXY', parseTrustProxy),
    corsOrigins: attempt('CORS_ORIGINS', parseOrigins),
    workers: attempt('RHONE_WORKERS', parseWorkers),
    swaps: attempt('RHONE_SWAP', parseSwaps),
    database: attempt('DATABASE_URL', postgresTarget),
    directDatabase: attempt('DATABASE_DIRECT_URL', postgresTarget),
    metricsToken: attempt('METRICS_TOKEN', parseBearer),
    session: attempt('SESSION_KEYS', parseKeyring),
    encryption: attempt('ENCRYPTION_KEYS', parseKeyring),
    signing: attempt('SIGNING_KEYS', parseKeyring),
    githubUrl: attempt('GITHUB_URL', parseServiceUrl),
    githubApiUrl: attempt('GITHUB_API_URL', parseServiceUrl),
    githubAppKey: attempt('GITHUB_APP_PRIVATE_KEY', parsePrivateKey),
    githubWebhookSecrets: attempt('GITHUB_WEBHOOK_SECRET', list),
    flyApiUrl: attempt('FLY_API_URL', parseServiceUrl),
    flyGraphqlUrl: attempt('FLY_GRAPHQL_URL', parseServiceUrl),
    buildkitHost: attempt('BUILDKIT_HOST', parseBuildkitHost),
    general: attempt('RATE_LIMIT_GENERAL', parseRate),
    auth: attempt('RATE_LIMIT_AUTH', parseRate),
    deploy: attempt('RATE_LIMIT_DEPLOY', parseRate),
    webhook: attempt('RATE_LIMIT_WEBHOOK', parseRate),
    strict: attempt('RATE_LIMIT_STRICT', parseRate),
    user: attempt('RATE_LIMIT_USER', parseRate)
  }
  attempt('REDIS_URL', redisTarget)
  if (env.DATABASE_DIRECT_URL !== undefined && env.DATABASE_URL === undefined)
    problems.push('DATABASE_DIRECT_URL: is the way past the pooler of DATABASE_URL, which is not set')
  if ((env.GITHUB_CLIENT_ID === undefined) !== (env.GITHUB_CLIENT_SECRET === undefined))
    problems.push('GITHUB_CLIENT_ID and GITHUB_CLIENT_SECRET: give both or neither')
  if ((env.TLS_CERT_FILE === undefined) !== (env.TLS_KEY_FILE === undefined))
    problems.push('TLS_CERT_FILE and TLS_KEY_FILE: give both or neither')
  else if (env.TLS_CERT_FILE && env.TLS_KEY_FILE)
    attempt('TLS_CERT_FILE', () =>
      createSecureContext(readTls({ certFile: env.TLS_CERT_FILE!, keyFile: env.TLS_KEY_FILE! }))
    )
  problems.push(...deployingProblems(env))
  if (production) problems.push(...productionProblems(env, parsed))
  if (problems.length > 0) throw new ConfigError(problems)

  const scheme = env.TLS_CERT_FILE === undefined ? 'http' : 'https'
  return Object.freeze({
    environment: env.ENVIRONMENT,
    production,
    version: env.RHONE_VERSION,
    host: env.HOST ?? (production ? '0.0.0.0' : '127.0.0.1'),
    port: env.PORT,
    baseUrl: parsed.baseUrl ?? new URL(`${scheme}://localhost:${env.PORT}`),
    tls: env.TLS_CERT_FILE && env.TLS_KEY_FILE ? { certFile: env.TLS_CERT_FILE, keyFile: env.TLS_KEY_FILE } : null,
    dataDir: resolve(env.DATA_DIR),
    database: {
      url: env.DATABASE_URL ?? null,
      directUrl: env.DATABASE_DIRECT_URL ?? env.DATABASE_URL ?? null,
      poolMax: env.DATABASE_POOL_MAX
    },
    maxConnections: env.MAX_CONNECTIONS,
    redisUrl: env.REDIS_URL ?? null,
    trustProxy: parsed.trustProxy ?? 'none',
    corsOrigins: parsed.corsOrigins ?? [],
    metricsToken: parsed.metricsToken,
    logLevel: env.LOG_LEVEL,
    keys: { session: parsed.session, encryption: parsed.encryption, signing: parsed.signing },
    github:
      env.GITHUB_CLIENT_ID && env.GITHUB_CLIENT_SECRET
        ? {
            clientId: env.GITHUB_CLIENT_ID,
            clientSecret: env.GITHUB_CLIENT_SECRET,
            url: parsed.githubUrl!,
            apiUrl: parsed.githubApiUrl ?? apiOf(parsed.githubUrl!)
          }
        : null,
    githubApp:
      env.GITHUB_APP_ID && env.GITHUB_APP_SLUG
        ? { id: env.GITHUB_APP_ID, privateKey: parsed.githubAppKey!, slug: env.GITHUB_APP_SLUG }
        : null,
    githubWebhookSecrets: parsed.githubWebhookSecrets ?? [],
    githubUrls: { url: parsed.githubUrl!, apiUrl: parsed.githubApiUrl ?? apiOf(parsed.githubUrl!) },
    fly: env.FLY_API_TOKEN
      ? { token: env.FLY_API_TOKEN, org: env.FLY_ORG, apiUrl: parsed.flyApiUrl!, graphqlUrl: parsed.flyGraphqlUrl! }
      : null,
    deployer: deployerOf(env),
    builder: builderOf(env),
    buildkit: parsed.buildkitHost
      ? {
          host: parsed.buildkitHost,
          caFile: env.BUILDKIT_CA_FILE!,
          certFile: env.BUILDKIT_CERT_FILE!,
          keyFile: env.BUILDKIT_KEY_FILE!
        }
      : null,
    registry: { host: env.REGISTRY, token: env.REGISTRY_TOKEN ?? env.FLY_API_TOKEN ?? null },
    appsPort: env.APPS_PORT,
    localAccounts: env.LOCAL_ACCOUNTS,
    rates: {
      general: parsed.general!,
      auth: parsed.auth!,
      deploy: parsed.deploy!,
      webhook: parsed.webhook!,
      strict: parsed.strict!,
      user: parsed.user!
    },
    drainGrace: env.DRAIN_GRACE ?? (production ? 5 : 0),
    workers: parsed.workers!,
    swaps: parsed.swaps ?? {},
    client: { url: env.RHONE_URL ?? null, token: env.RHONE_TOKEN ?? null }
  })
}

/** @throws Error when a file cannot be read */
export function readTls(files: NonNullable<Config['tls']>): { cert: Buffer; key: Buffer } {
  return { cert: readFileSync(files.certFile), key: readFileSync(files.keyFile) }
}

/** The variables this schema knows, where `X_FILE` names the file that holds `X`; an empty one counts as unset. */
function resolveFiles(variables: Variables, problems: string[]): Record<string, string> {
  const values: Record<string, string> = {}
  for (const name of Object.keys(Environment.properties)) {
    const file = variables[`${name}_FILE`]
    if (variables[name]) values[name] = variables[name]
    if (!file || `${name}_FILE` in Environment.properties) continue
    if (variables[name]) {
      problems.push(`${name}: is given twice, as ${name} and as ${name}_FILE`)
      continue
    }
    try {
      values[name] = readFileSync(file, 'utf8').trim()
    } catch (error) {
      problems.push(`${name}_FILE: cannot be read (${(error as NodeJS.ErrnoException).code})`)
    }
  }
  return values
}

function checkTypes(values: Record<string, string>, problems: string[]): Environment {
  const env = Value.Default(Environment, readTyped(values))
  for (const { path, message, schema } of Value.Errors(Environment, env)) {
    const choices = schema.anyOf?.map((option: { const: string }) => option.const).join(', ')
    problems.push(`${path.slice(1)}: ${choices ? `must be one of ${choices}` : message.toLowerCase()}`)
  }
  return env as Environment
}

/** Digits and nothing else are an integer: a lenient reading would take `1e3` and `true` for 1. */
function readTyped(values: Record<string, string>): Record<string, string | number | boolean> {
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => [name, typed(name as keyof Environment, value)])
  )
}

function typed(name: keyof Environment, value: string): string | number | boolean {
  const { type } = Environment.properties[name]
  if (type === 'integer' && /^-?\d+$/.test(value)) return Number(value)
  if (type === 'boolean' && (value === 'true' || value === 'false')) return value === 'true'
  return value
}

function deployerOf(env: Environment): Config['deployer'] {
  if (env.DEPLOYER !== undefined) return env.DEPLOYER
  if (env.FLY_API_TOKEN !== undefined) return 'fly'
  return env.ENVIRONMENT === 'development' ? 'local' : null
}

function builderOf(env: Environment): Config['builder'] {
  if (env.BUILDER !== undefined) return env.BUILDER
  if (env.BUILDKIT_HOST !== undefined) return 'buildkit'
  const deployer = deployerOf(env)
  return deployer === 'fly' ? 'image' : deployer
}

/** What is missing for what is asked for. An image of the local builder runs nowhere else, and nothing else runs here. */
function deployingProblems(env: Environment): string[] {
  const problems: string[] = []
  const needs = (what: string, names: readonly (keyof Environment)[]) => {
    const missing = names.filter(name => env[name] === undefined)
    if (missing.length > 0) problems.push(`${missing.join(', ')}: ${what} needs ${names.join(', ')}`)
  }
  const app = ['GITHUB_APP_ID', 'GITHUB_APP_PRIVATE_KEY', 'GITHUB_APP_SLUG'] as const
  if (app.some(name => env[name] !== undefined)) needs('a GitHub App', app)
  if (env.DEPLOYER === 'fly') needs('DEPLOYER=fly', ['FLY_API_TOKEN'])
  if (builderOf(env) === 'buildkit')
    needs('BUILDER=buildkit', ['BUILDKIT_HOST', 'BUILDKIT_CA_FILE', 'BUILDKIT_CERT_FILE', 'BUILDKIT_KEY_FILE'])
  if (deployerOf(env) === 'local' && builderOf(env) !== 'local')
    problems.push('BUILDER: apps of DEPLOYER=local are built by BUILDER=local')
  if (builderOf(env) === 'local' && deployerOf(env) !== 'local')
    problems.push('BUILDER: what BUILDER=local has built runs with DEPLOYER=local only')
  return problems
}

interface Parsed {
  readonly database: PostgresTarget | null
  readonly directDatabase: PostgresTarget | null
  readonly corsOrigins: readonly string[] | null
}

function productionProblems(env: Environment, { database, directDatabase, corsOrigins }: Parsed): string[] {
  const problems: string[] = []
  for (const name of ['DATABASE_URL', 'SESSION_KEYS', 'ENCRYPTION_KEYS', 'SIGNING_KEYS'] as const)
    if (env[name] === undefined) problems.push(`${name}: is required in ${env.ENVIRONMENT}`)

  for (const name of [
    'DATABASE_URL',
    'DATABASE_DIRECT_URL',
    'REDIS_URL',
    'METRICS_TOKEN',
    'GITHUB_CLIENT_ID',
    'GITHUB_CLIENT_SECRET',
    'GITHUB_APP_SLUG',
    'GITHUB_WEBHOOK_SECRET',
    'FLY_API_TOKEN',
    'REGISTRY_TOKEN'
  ] as const)
    if (/change.?me|placeholder|replace.?me|\byour[-_]|<[^>]*>|^(.)\1*$/i.test(env[name] ?? ''))
      problems.push(`${name}: is still a placeholder`)
  for (const [name, target] of Object.entries({ DATABASE_URL: database, DATABASE_DIRECT_URL: directDatabase }))
    if (target !== null && !isEncrypted(target)) problems.push(`${name}: must use TLS; add sslmode=verify-full`)
  if (env.METRICS_TOKEN !== undefined && env.METRICS_TOKEN.length < 16)
    problems.push('METRICS_TOKEN: must be at least 16 characters')
  if (env.REDIS_URL?.startsWith('redis://') && !isLoopback(env.REDIS_URL) && !/\/\/[^@/]*:[^@/]+@/.test(env.REDIS_URL))
    problems.push('REDIS_URL: a remote Redis needs a password, or rediss://')
  for (const name of ['DEPLOYER', 'BUILDER'] as const)
    if (env[name] === 'local')
      problems.push(`${name}: local runs what tenants bring on this machine; not in ${env.ENVIRONMENT}`)
  for (const name of ['GITHUB_URL', 'GITHUB_API_URL', 'FLY_API_URL', 'FLY_GRAPHQL_URL'] as const)
    if (env[name]?.startsWith('http:') && !isLoopback(env[name]))
      problems.push(`${name}: must be https, since secrets go there`)
  for (const origin of corsOrigins ?? [])
    if (!origin.startsWith('https://') || isLoopback(origin))
      problems.push(`CORS_ORIGINS: ${origin} is not an https origin of another host`)
  return problems
}

/** `prefer` gives way to whoever claims that the server has no TLS. What goes through a socket stays on this machine. */
function isEncrypted({ ssl, path }: PostgresTarget): boolean {
  return typeof ssl === 'object' || path !== undefined
}

function isLoopback(url: string): boolean {
  return /\/\/([^@/]*@)?(localhost|127\.\d+\.\d+\.\d+|\[::1\])(?=[:/]|$)/.test(url)
}

function list(value: string): string[] {
  return value
    .split(',')
    .map(part => part.trim())
    .filter(Boolean)
}

function parseBaseUrl(value: string): URL {
  const url = URL.parse(value)
  if (url === null || !/^https?:$/.test(url.protocol)) throw new Error('must be an http or https URL')
  if (url.username || url.password) throw new Error('must have no user and password')
  if (url.pathname !== '/' || url.search || url.hash) throw new Error('must have no path, query or fragment')
  return url
}

/** Without a slash at the end, so that paths can be appended. */
function parseServiceUrl(value: string): string {
  const url = URL.parse(value)
  if (url === null || !/^https?:$/.test(url.protocol)) throw new Error('must be an http or https URL')
  if (url.search || url.hash || url.username) throw new Error('must have no query, fragment or user')
  return url.href.replace(/\/+$/, '')
}

/** PEM, also on one line with `\\n` for its ends, or all of it in base64; always given back as PEM. */
function parsePrivateKey(value: string): string {
  const text = value.includes('-----BEGIN')
    ? value.replaceAll('\\n', '\n')
    : Buffer.from(value, 'base64').toString('utf8')
  try {
    return createPrivateKey(text).export({ type: 'pkcs8', format: 'pem' }).toString()
  } catch {
    throw new Error('must be a private key as PEM, or that in base64')
  }
}

function parseBuildkitHost(value: string): string {
  const url = URL.parse(value)
  if (url?.protocol === 'tcp:' && url.hostname && url.port) return value
  throw new Error('must be tcp://host:port')
}

function apiOf(githubUrl: string): string {
  return githubUrl === 'https://github.com' ? 'https://api.github.com' : `${githubUrl}/api/v3`
}

function parseTrustProxy(value: string): Config['trustProxy'] {
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

function parseOrigins(value: string): string[] {
  const origins = list(value)
  const isExact = (origin: string) => /^https?:\/\/[^*]+$/.test(origin) && URL.parse(origin)?.origin === origin
  const inexact = origins.filter(origin => !isExact(origin))
  if (inexact.length === 0) return origins
  throw new Error(`${inexact.join(' and ')}: not an exact origin such as https://app.example.com`)
}

/** Elsewhere the system gives all connections of a shared port to one socket, or does not share it. */
const BALANCED_PORTS: readonly NodeJS.Platform[] = ['linux', 'freebsd', 'sunos', 'aix']
const MAX_WORKERS = 64

function parseWorkers(value: string): number {
  const isBalanced = BALANCED_PORTS.includes(process.platform)
  if (value === 'auto') return isBalanced ? Math.min(availableParallelism(), MAX_WORKERS) : 1
  const workers = /^\d{1,2}$/.test(value) ? Number(value) : 0
  if (workers < 1 || workers > MAX_WORKERS) throw new Error(`"${value}" is neither auto nor a number from 1 to 64`)
  if (workers > 1 && !isBalanced) throw new Error(`${process.platform} cannot share a port among threads; it takes 1`)
  return workers
}

function parseSwaps(value: string): Record<string, SwapSetting> {
  const swaps = new Map<string, SwapSetting>()
  for (const entry of list(value)) {
    const [, name, target] = /^([^=]+)=(.+)$/.exec(entry) ?? []
    if (!name || !target) throw new Error(`"${entry}" must be name=off or name=./module.ts`)
    if (swaps.has(name)) throw new Error(`"${name}" is given twice`)
    swaps.set(name, target === 'off' ? false : target)
  }
  return Object.fromEntries(swaps)
}

function parseBearer(value: string): string {
  if (/^[\x21-\x7e]+$/.test(value)) return value
  throw new Error('must be printable ASCII without spaces, or no scraper could send it')
}
