import { type Static, type TSchema, Type } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import billing, { type BillingSettings } from './billing.ts'
import client, { type ClientSettings } from './client.ts'
import data, { type DataSettings } from './data.ts'
import delivery, { type DeliverySettings } from './delivery.ts'
import edge, { type EdgeSettings } from './edge.ts'
import { ConfigError } from './error.ts'
import github, { type GithubSettings } from './github.ts'
import identity, { type IdentitySettings } from './identity.ts'
import type { Reader, Section } from './section.ts'
import server, { type ServerSettings } from './server.ts'
import { readEnvironment, resolveFiles, type Variables } from './source.ts'
import telemetry, { type TelemetrySettings } from './telemetry.ts'

export { readTls, type SwapSetting } from './server.ts'
export { ConfigError, readEnvironment, type Variables }

/** All settings, grouped into sections. */
export interface Config
  extends ServerSettings,
    DataSettings,
    EdgeSettings,
    IdentitySettings,
    GithubSettings,
    DeliverySettings,
    BillingSettings,
    TelemetrySettings,
    ClientSettings {}

const sections = [server, data, edge, identity, github, delivery, billing, telemetry, client] as const

/** Every variable that the server and its command line read. `.env.example` lists the same keys. */
export const Environment = Type.Object({
  ...server.variables,
  ...data.variables,
  ...edge.variables,
  ...identity.variables,
  ...github.variables,
  ...delivery.variables,
  ...billing.variables,
  ...telemetry.variables,
  ...client.variables
})
export type Environment = Static<typeof Environment>

/**
 * Loads the settings of this process. Asynchronous, because values may come from outside the environment.
 *
 * @throws ConfigError that lists every wrong variable and why
 */
export async function readConfig(environment: () => Variables | Promise<Variables> = readEnvironment): Promise<Config> {
  return loadConfig(await environment())
}

/** @throws ConfigError that lists every wrong variable and why */
export function loadConfig(variables: Variables): Config {
  const problems: string[] = []
  const env = checkTypes(resolveFiles(variables, Object.keys(Environment.properties), problems), problems)
  const reader = createReader(env, problems)
  const settings = sections.map(section => (section as Section).read(reader as never))
  if (reader.production) problems.push(...placeholders(env))
  if (problems.length > 0) throw new ConfigError(problems)
  return Object.freeze(Object.assign({}, ...settings))
}

function createReader(env: Environment, problems: string[]): Reader<Environment> {
  return {
    env,
    environment: env.ENVIRONMENT,
    production: env.ENVIRONMENT !== 'development',
    parse(name, parser) {
      const value = env[name]
      if (value === undefined) return null
      try {
        return parser(String(value))
      } catch (error) {
        problems.push(`${name}: ${(error as Error).message}`)
        return null
      }
    },
    refuse: problem => void problems.push(problem)
  }
}

const PLACEHOLDER = /change.?me|placeholder|replace.?me|\byour[-_]|<[^>]*>|^(.)\1*$/i

function placeholders(env: Environment): string[] {
  const isPlaceholder = ([name, schema]: [string, TSchema]) =>
    schema.credential === true && PLACEHOLDER.test(String(env[name as keyof Environment] ?? ''))
  return Object.entries(Environment.properties)
    .filter(isPlaceholder)
    .map(([name]) => `${name}: is still a placeholder`)
}

function checkTypes(values: Record<string, string>, problems: string[]): Environment {
  const env = Value.Default(Environment, readTyped(values))
  const wrong = new Map([...Value.Errors(Environment, env)].map(({ path, schema }) => [path.slice(1), schema]))
  for (const [name, schema] of wrong) problems.push(`${name}: must be ${allowedBy(schema)}`)
  return env as Environment
}

function allowedBy({ type, anyOf, minimum, maximum }: TSchema): string {
  if (anyOf) return `one of ${anyOf.map((option: { const: string }) => option.const).join(', ')}`
  if (type === 'boolean') return 'true or false'
  if (type !== 'integer') return 'text'
  return maximum === undefined
    ? `a whole number of at least ${minimum}`
    : `a whole number from ${minimum} to ${maximum}`
}

/** An integer consists of digits only: a lenient parser would accept `1e3`, and `true` as 1. */
function readTyped(values: Record<string, string>): Record<string, string | number | boolean> {
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => [name, typed(name as keyof Environment, value)])
  )
}

function typed(name: keyof Environment, value: string): string | number | boolean {
  const { type } = Environment.properties[name] as TSchema
  if (type === 'integer' && /^-?\d+$/.test(value)) return Number(value)
  if (type === 'boolean' && (value === 'true' || value === 'false')) return value === 'true'
  return value
}
