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
  FLY_API_TOKEN: credential('Deploys to Fly Machines; off when unset.'),
  FLY_ORG: text('The organization at Fly that apps belong to.', { default: 'rhone' }),
  FLY_API_URL: text('The Machines API.', { default: 'https://api.machines.dev' }),
  FLY_GRAPHQL_URL: text('The GraphQL API of Fly.', { default: 'https://api.fly.io/graphql' }),
  DEPLOYER: optional(
    oneOf(['local', 'fly'], {
      description: 'Where apps run: fly with a token; else, in development, as processes of this machine.'
    })
  ),
  BUILDER: optional(
    oneOf(['local', 'buildkit', 'image'], {
      description:
        'What builds: local for local apps, buildkit with BUILDKIT_HOST; image deploys what others have built.'
    })
  ),
  BUILDKIT_HOST: optional(text('buildkitd, as tcp://host:port; with TLS on both sides.')),
  BUILDKIT_CA_FILE: optional(text('PEM of who has signed the certificate of buildkitd.')),
  BUILDKIT_CERT_FILE: optional(text('PEM of our certificate for buildkitd.')),
  BUILDKIT_KEY_FILE: optional(text('PEM private key of BUILDKIT_CERT_FILE.')),
  REGISTRY: text('Where images are pushed to.', { default: 'registry.fly.io' }),
  REGISTRY_TOKEN: credential('Its token; that of Fly when unset.'),
  APPS_PORT: Type.Integer({
    default: 8090,
    minimum: 0,
    maximum: 65_535,
    description: 'Where local apps are served, by host name; 0 picks a port.'
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
  if (deployer === 'local' && builder !== 'local') refuse('BUILDER: apps of DEPLOYER=local are built by BUILDER=local')
  if (builder === 'local' && deployer !== 'local')
    refuse('BUILDER: what BUILDER=local has built runs with DEPLOYER=local only')
  for (const name of ['DEPLOYER', 'BUILDER'] as const)
    if (production && env[name] === 'local')
      refuse(`${name}: local runs what tenants bring on this machine; not in ${environment}`)
}

function parseBuildkitHost(value: string): string {
  const url = URL.parse(value)
  if (url?.protocol === 'tcp:' && url.hostname && url.port) return value
  throw new Error('must be tcp://host:port')
}
