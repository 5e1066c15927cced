import { type Static, type TSchema, Type } from '@sinclair/typebox'
import packageJson from '../../package.json' with { type: 'json' }

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
  DEFAULT_PLAN: Type.Union(
    ['free', 'starter', 'pro'].map(plan => Type.Literal(plan)),
    { default: 'pro', description: 'The plan of a new team: free, starter or pro. It limits how many people may join.' }
  ),
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
export type Environment = Static<typeof Environment>
