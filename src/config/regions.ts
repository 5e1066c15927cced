import { optional, section, text } from './section.ts'

/** The regions of this instance and of the primary database. */
export interface RegionSettings {
  readonly regions: {
    /** The Fly region of this instance; null elsewhere. */
    readonly own: string | null
    /** The Fly region that changes are replayed in. */
    readonly primary: string | null
    /** The URL of the instances next to the primary database, for instances next to a replica. */
    readonly primaryUrl: URL | null
  }
}

const variables = {
  FLY_REGION: optional(text('The region of this instance; set by Fly.')),
  PRIMARY_REGION: optional(text('On Fly: the region of the primary database, whose instances handle all writes.')),
  PRIMARY_URL: optional(text('For instances near a replica: the URL of the instances near the primary database.'))
}

export default section(variables, ({ env, production, parse, refuse }) => {
  const primaryUrl = parse('PRIMARY_URL', parseAddress)
  if (production && primaryUrl?.protocol === 'http:' && !isPrivate(primaryUrl.hostname))
    refuse('PRIMARY_URL: must be https, or a name that ends in .internal')
  for (const name of ['FLY_REGION', 'PRIMARY_REGION'] as const)
    if (env[name] !== undefined && !/^[a-z0-9-]{2,20}$/.test(env[name]))
      refuse(`${name}: "${env[name]}" is not a region code, such as fra`)
  const settings: RegionSettings = {
    regions: { own: env.FLY_REGION ?? null, primary: env.PRIMARY_REGION ?? null, primaryUrl }
  }
  return settings
})

/** Fly's own network is encrypted; a loopback address never leaves this machine. */
const isPrivate = (host: string) => host.endsWith('.internal') || host === 'localhost' || host.startsWith('127.')

function parseAddress(value: string): URL {
  const url = URL.parse(value)
  if (url === null || !/^https?:$/.test(url.protocol)) throw new Error('must be an http or https URL')
  if (url.username || url.password || url.pathname !== '/' || url.search || url.hash)
    throw new Error('must have no user, path, query or fragment')
  return url
}
