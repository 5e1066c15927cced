import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { createSecureContext } from 'node:tls'
import { Value } from '@sinclair/typebox/value'
import type { Plan } from '../../drizzle/schema.ts'
import { postgresTarget } from '../../plugins/lib/postgres.ts'
import { parseRate, type Rate } from '../../plugins/rate-limit/rate.ts'
import { redisTarget } from '../../plugins/redis/target.ts'
import { Environment } from './environment.ts'
import { type Keyring, parseKeyring } from './keyring.ts'
import {
  type Builder,
  builderOf,
  type Deployer,
  deployerOf,
  deployingProblems,
  productionProblems
} from './problems.ts'
import {
  apiOf,
  list,
  parseBaseUrl,
  parseBearer,
  parseBuildkitHost,
  parseOrigins,
  parsePrivateKey,
  parseServiceUrl,
  parseSwaps,
  parseTrustProxy,
  parseWorkers,
  type SwapSetting,
  type TrustProxy
} from './values.ts'

export type { SwapSetting } from './values.ts'
export { Environment }
export type Variables = Readonly<Record<string, string | undefined>>

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
  readonly trustProxy: TrustProxy
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
  readonly deployer: Deployer | null
  readonly builder: Builder | null
  readonly buildkit: {
    readonly host: string
    readonly caFile: string
    readonly certFile: string
    readonly keyFile: string
  } | null
  readonly registry: { readonly host: string; readonly token: string | null }
  readonly appsPort: number
  /** The plan of a new team. */
  readonly defaultPlan: Plan
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
    defaultPlan: env.DEFAULT_PLAN as Plan,
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
