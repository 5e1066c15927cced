import { type Static, type TObject, type TSchema, Type } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import backups, { type BackupSettings } from './backups.ts'
import billing, { type BillingSettings } from './billing.ts'
import client, { type ClientSettings } from './client.ts'
import data, { type DataSettings } from './data.ts'
import delivery, { type DeliverySettings } from './delivery.ts'
import edge, { type EdgeSettings } from './edge.ts'
import { ConfigError } from './error.ts'
import github, { type GithubSettings } from './github.ts'
import identity, { type IdentitySettings } from './identity.ts'
import mail, { type MailSettings } from './mail.ts'
import monitoring, { type MonitoringSettings } from './monitoring.ts'
import regions, { type RegionSettings } from './regions.ts'
import secrets, { type SecretsSettings } from './secrets.ts'
import type { Reader, SecretTraits, Section } from './section.ts'
import server, { type ServerSettings } from './server.ts'
import { readEnvironment, readShell, resolveFiles, type Variables } from './source.ts'
import { openSource } from './sources/open.ts'
import { type SecretSource, SourceError } from './sources/port.ts'
import telemetry, { type TelemetrySettings } from './telemetry.ts'

export { readTls, type SwapSetting } from './server.ts'
export { ConfigError, readEnvironment, readShell, type SecretSource, type SecretTraits, SourceError, type Variables }

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
    MonitoringSettings,
    MailSettings,
    RegionSettings,
    SecretsSettings,
    BackupSettings,
    ClientSettings {
  /** The values of the configured secret variables, unparsed; `SECRETS` describes each. */
  readonly secrets: ReadonlyMap<string, string>
}

const sections = [
  server,
  data,
  edge,
  identity,
  github,
  delivery,
  billing,
  telemetry,
  monitoring,
  mail,
  regions,
  secrets,
  backups,
  client
] as const

/** Every variable that the server and its command line read. `.env.example` lists the same variables. */
export const Environment = Type.Object({
  ...server.variables,
  ...data.variables,
  ...edge.variables,
  ...identity.variables,
  ...github.variables,
  ...delivery.variables,
  ...billing.variables,
  ...telemetry.variables,
  ...monitoring.variables,
  ...mail.variables,
  ...regions.variables,
  ...secrets.variables,
  ...backups.variables,
  ...client.variables
})
export type Environment = Static<typeof Environment>

/** Every secret variable of this server. */
export const SECRETS: ReadonlyMap<string, SecretTraits> = new Map(
  Object.entries(Environment.properties).flatMap(([name, { secret }]: [string, TSchema]) =>
    secret === undefined ? [] : [[name, secret as SecretTraits]]
  )
)

/** Rereads a process's secrets, and builds the settings from them. */
export interface SecretFeed {
  readonly source: SecretSource
  /** Reads the secrets, by variable. @throws SourceError */
  readonly readSecrets: () => Promise<ReadonlyMap<string, string>>
  /** The settings with these secrets replaced. @throws ConfigError that lists every wrong variable */
  readonly configWith: (secrets: ReadonlyMap<string, string>) => Config
  /** The variables that the environment has although the source could have them, and that hold no secret there. */
  readonly local: ReadonlySet<string>
}

/**
 * Loads the settings of this process, with its secrets from the configured source.
 * @throws ConfigError that lists every wrong variable and why
 */
export async function openSettings(
  environment: () => Variables | Promise<Variables> = readEnvironment
): Promise<{ config: Config; feed: SecretFeed }> {
  const variables = await environment()
  const feed = await openFeed(variables)
  // With the environment as the source, problems with files are reported along with everything else.
  if (feed.source.name === 'env') return { config: loadConfig(variables), feed }
  refuseTwice(variables, feed)
  const secrets = await feed.readSecrets().catch((error: unknown) => {
    throw error instanceof SourceError ? new ConfigError([`SECRETS_SOURCE: ${error.message}`]) : error
  })
  return { config: configFrom(feed.source, () => feed.configWith(secrets)), feed }
}

/** Opens the secret source that the variables name, without reading it. @throws ConfigError */
export async function openFeed(variables: Variables): Promise<SecretFeed> {
  const source = await openSource(sourceOf(variables), variables)
  const local = new Set(source.name === 'env' ? [] : namesInSource().filter(name => staysLocal(name, variables[name])))
  const names = namesInSource().filter(name => !local.has(name))
  const others = Object.entries(variables).filter(([name]) => !names.includes(name.replace(/_FILE$/, '')))
  return {
    source,
    local,
    readSecrets: async () => new Map([...(await source.load(names))].map(([name, { value }]) => [name, value])),
    configWith: secrets => loadConfig({ ...Object.fromEntries(others), ...Object.fromEntries(secrets) })
  }
}

/** Without a password, a URL is an address, which may differ where the secrets are the same. */
function staysLocal(name: string, value: string | undefined): boolean {
  return value !== undefined && SECRETS.get(name)?.staysLocal === true && passwordOf(value) === null
}

/** Not by the URL parser, which refuses lists of hosts. */
export function passwordOf(url: string): string | null {
  const [, credentials = ''] = /^[\w+.-]+:\/\/([^/?#]*)@/.exec(url) ?? []
  return credentials.split(':').slice(1).join(':') || null
}

function namesInSource(): string[] {
  return [...SECRETS].filter(([, { opensSource }]) => !opensSource).map(([name]) => name)
}

function refuseTwice(variables: Variables, { source, local }: SecretFeed): void {
  const secret = namesInSource().filter(name => !local.has(name))
  const twice = secret.filter(name => variables[name] || variables[`${name}_FILE`])
  if (twice.length > 0)
    throw new ConfigError(twice.map(name => `${name}: is set in the environment, but its source is ${source.name}`))
}

/**
 * Loads the settings of this process, with its secrets from the configured source.
 * @throws ConfigError that lists every wrong variable and why
 */
export async function readConfig(environment?: () => Variables | Promise<Variables>): Promise<Config> {
  const { config, feed } = await openSettings(environment)
  await feed.source.close?.()
  return config
}

/** The source of the secrets, which must be known before anything else can be read. */
function sourceOf(variables: Variables) {
  const schema = Type.Object({ ...secrets.variables, ENVIRONMENT: server.variables.ENVIRONMENT })
  const problems: string[] = []
  const env = checkTypes(schema, resolveFiles(variables, Object.keys(schema.properties), problems), problems)
  const { secretsSource } = secrets.read(createReader(env, problems))
  if (problems.length > 0) throw new ConfigError(problems)
  return secretsSource
}

/** Adds a secret's expected place to messages about it. */
function configFrom(source: SecretSource, load: () => Config): Config {
  try {
    return load()
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    const isSecret = (problem: string) => [...SECRETS.keys()].some(name => problem.startsWith(`${name}:`))
    throw new ConfigError(error.problems.map(text => (isSecret(text) ? `${text} (from ${source.name})` : text)))
  }
}

/** @throws ConfigError that lists every wrong variable and why */
export function loadConfig(variables: Variables): Config {
  const problems: string[] = []
  const values = resolveFiles(variables, Object.keys(Environment.properties), problems)
  const env = checkTypes(Environment, values, problems)
  const reader = createReader(env, problems)
  const settings = sections.map(section => (section as Section).read(reader as never))
  if (reader.production) problems.push(...placeholders(env))
  if (problems.length > 0) throw new ConfigError(problems)
  const given = new Map(Object.entries(values).filter(([name]) => SECRETS.has(name)))
  return Object.freeze(Object.assign({ secrets: given }, ...settings))
}

function createReader<Env extends Pick<Environment, 'ENVIRONMENT'>>(env: Env, problems: string[]): Reader<Env> {
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

function checkTypes<Schema extends TObject>(
  schema: Schema,
  values: Record<string, string>,
  problems: string[]
): Static<Schema> {
  const env = Value.Default(schema, readTyped(values))
  const wrong = new Map([...Value.Errors(schema, env)].map(({ path, schema }) => [path.slice(1), schema]))
  for (const [name, expected] of wrong) problems.push(`${name}: must be ${allowedBy(expected)}`)
  return env as Static<Schema>
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
