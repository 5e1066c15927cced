import { type Static, type TObject, Type } from '@sinclair/typebox'
import { credential, oneOf, optional, type Reader, section, text } from './section.ts'
import { missing, parseServiceUrl, refusePlainHttp } from './values.ts'

type Deployer = 'local' | 'fly'
type Builder = 'local' | 'buildkit' | 'image'

/** How sources become running apps. */
export interface DeliverySettings {
  readonly fly: {
    readonly token: string
    readonly org: string
    readonly apiUrl: string
    readonly graphqlUrl: string
  } | null
  /** Null: deployments are disabled. */
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
}

const variables = {
  FLY_API_TOKEN: credential('API token for Fly Machines; no deployments to Fly when unset.'),
  FLY_ORG: text('The Fly organization of the apps.', { default: 'rhone' }),
  FLY_API_URL: text('Base URL of the Machines API.', { default: 'https://api.machines.dev' }),
  FLY_GRAPHQL_URL: text('URL of the GraphQL API of Fly.', { default: 'https://api.fly.io/graphql' }),
  DEPLOYER: optional(
    oneOf(['local', 'fly'], {
      description: 'Where apps run: fly, or local. Unset: fly with a token, else local in development.'
    })
  ),
  BUILDER: optional(
    oneOf(['local', 'buildkit', 'image'], {
      description:
        'How apps are built: local, for local apps; buildkit, with BUILDKIT_HOST; image, for images built elsewhere.'
    })
  ),
  BUILDKIT_HOST: optional(text('Address of buildkitd, tcp://host:port; requires mutual TLS.')),
  BUILDKIT_CA_FILE: optional(text('PEM of the certificate authority of buildkitd.')),
  BUILDKIT_CERT_FILE: optional(text('PEM of the client certificate for buildkitd.')),
  BUILDKIT_KEY_FILE: optional(text('PEM private key of BUILDKIT_CERT_FILE.')),
  REGISTRY: text('The registry that images are pushed to.', { default: 'registry.fly.io' }),
  REGISTRY_TOKEN: credential('The token of that registry; FLY_API_TOKEN when unset.'),
  APPS_PORT: Type.Integer({
    default: 8090,
    minimum: 0,
    maximum: 65_535,
    description: 'The port that serves local apps, by host name; 0 picks one.'
  })
}
type Env = Static<TObject<typeof variables>>

export default section(variables, reader => {
  const { env, parse } = reader
  const deployer = deployerOf(reader)
  const builder = builderOf(env, deployer)
  checkPair(reader, deployer, builder)
  refusePlainHttp(reader, ['FLY_API_URL', 'FLY_GRAPHQL_URL'])

  const apiUrl = parse('FLY_API_URL', parseServiceUrl)!
  const graphqlUrl = parse('FLY_GRAPHQL_URL', parseServiceUrl)!
  const buildkitHost = parse('BUILDKIT_HOST', parseBuildkitHost)
  const settings: DeliverySettings = {
    fly: env.FLY_API_TOKEN ? { token: env.FLY_API_TOKEN, org: env.FLY_ORG, apiUrl, graphqlUrl } : null,
    deployer,
    builder,
    buildkit: buildkitHost
      ? {
          host: buildkitHost,
          caFile: env.BUILDKIT_CA_FILE!,
          certFile: env.BUILDKIT_CERT_FILE!,
          keyFile: env.BUILDKIT_KEY_FILE!
        }
      : null,
    registry: { host: env.REGISTRY, token: env.REGISTRY_TOKEN ?? env.FLY_API_TOKEN ?? null },
    appsPort: env.APPS_PORT
  }
  return settings
})

function deployerOf({ env, environment }: Reader<Env>): Deployer | null {
  if (env.DEPLOYER !== undefined) return env.DEPLOYER
  if (env.FLY_API_TOKEN !== undefined) return 'fly'
  return environment === 'development' ? 'local' : null
}

function builderOf(env: Env, deployer: Deployer | null): Builder | null {
  if (env.BUILDER !== undefined) return env.BUILDER
  if (env.BUILDKIT_HOST !== undefined) return 'buildkit'
  return deployer === 'fly' ? 'image' : deployer
}

/** An image from the local builder runs only on this machine, and no other image runs there. */
function checkPair(reader: Reader<Env>, deployer: Deployer | null, builder: Builder | null): void {
  const { env, environment, production, refuse } = reader
  if (env.DEPLOYER === 'fly') missing(reader, 'DEPLOYER=fly', ['FLY_API_TOKEN'])
  if (builder === 'buildkit')
    missing(reader, 'BUILDER=buildkit', [
      'BUILDKIT_HOST',
      'BUILDKIT_CA_FILE',
      'BUILDKIT_CERT_FILE',
      'BUILDKIT_KEY_FILE'
    ])
  if (deployer === 'local' && builder !== 'local') refuse('BUILDER: DEPLOYER=local needs BUILDER=local')
  if (builder === 'local' && deployer !== 'local') refuse('BUILDER: BUILDER=local needs DEPLOYER=local')
  for (const name of ['DEPLOYER', 'BUILDER'] as const)
    if (production && env[name] === 'local')
      refuse(`${name}: local runs the code of tenants on this machine; not allowed in ${environment}`)
}

function parseBuildkitHost(value: string): string {
  const url = URL.parse(value)
  if (url?.protocol === 'tcp:' && url.hostname && url.port) return value
  throw new Error('must be tcp://host:port')
}
