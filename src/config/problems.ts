import type { PostgresTarget } from '../../plugins/lib/postgres.ts'
import type { Environment } from './environment.ts'
import { isLoopback } from './values.ts'

export type Deployer = NonNullable<Environment['DEPLOYER']>
export type Builder = NonNullable<Environment['BUILDER']>

export function deployerOf(env: Environment): Deployer | null {
  if (env.DEPLOYER !== undefined) return env.DEPLOYER
  if (env.FLY_API_TOKEN !== undefined) return 'fly'
  return env.ENVIRONMENT === 'development' ? 'local' : null
}

export function builderOf(env: Environment): Builder | null {
  if (env.BUILDER !== undefined) return env.BUILDER
  if (env.BUILDKIT_HOST !== undefined) return 'buildkit'
  const deployer = deployerOf(env)
  return deployer === 'fly' ? 'image' : deployer
}

/** What is missing for what is asked for. An image of the local builder runs nowhere else, and nothing else runs here. */
export function deployingProblems(env: Environment): string[] {
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

export function productionProblems(env: Environment, { database, directDatabase, corsOrigins }: Parsed): string[] {
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
