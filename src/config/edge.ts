import { isIP } from 'node:net'
import { Type } from '@sinclair/typebox'
import { parseRate, type Rate } from '../../plugins/rate-limit/rate.ts'
import { credential, optional, type Reader, section, text } from './section.ts'
import { isLoopback, list } from './values.ts'

export type TrustProxy = 'none' | 'fly' | readonly string[]
export type RateClass = 'general' | 'auth' | 'deploy' | 'webhook' | 'strict' | 'user'

/** Who may call, from where, and how often. */
export interface EdgeSettings {
  readonly maxConnections: number
  readonly trustProxy: TrustProxy
  readonly corsOrigins: readonly string[]
  /** How long a browser may cache a preflight, in seconds. */
  readonly corsMaxAge: number
  /** Whether to ask browsers to add our domain to their HSTS preload list. */
  readonly hstsPreload: boolean
  /** More than one during rotation. */
  readonly metricsTokens: readonly string[]
  readonly rates: Readonly<Record<RateClass, Rate>>
}

const rate = (fallback: string, description: string) =>
  text(`${description} Rate per unit : burst.`, { default: fallback })

const variables = {
  MAX_CONNECTIONS: Type.Integer({
    default: 10_000,
    minimum: 1,
    description: 'Maximum number of open client connections.'
  }),
  TRUST_PROXY: text('none, fly, or the CIDRs of the proxies whose X-Forwarded-For is believed.', { default: 'none' }),
  CORS_ORIGINS: optional(text('Exact origins from which browsers may call the API.')),
  CORS_MAX_AGE: Type.Integer({
    default: 7_200,
    minimum: 0,
    maximum: 86_400,
    description: 'Seconds for which a browser may cache a CORS preflight.'
  }),
  HSTS_PRELOAD: Type.Boolean({
    default: false,
    description: 'With https in staging and production: ask browsers to preload HSTS. Slow to undo.'
  }),
  METRICS_TOKEN: credential(
    'Bearer token of /metrics, a list while rotating; when unset, loopback only and in development only.',
    { form: 'list' }
  ),
  RATE_LIMIT_GENERAL: rate('100/s:200', 'All routes without their own class, per address.'),
  RATE_LIMIT_AUTH: rate('5/s:10', 'Sign-in, per address.'),
  RATE_LIMIT_DEPLOY: rate('10/m:5', 'Deployments, per address.'),
  RATE_LIMIT_WEBHOOK: rate('100/s:500', 'Incoming webhooks, per address.'),
  RATE_LIMIT_STRICT: rate('0.1/s:5', 'Sensitive operations, per address.'),
  RATE_LIMIT_USER: rate('100/s:200', 'All requests, per user.')
}

export default section(variables, reader => {
  const { env, production, parse, refuse } = reader
  const metricsTokens = parse('METRICS_TOKEN', parseBearers) ?? []
  if (production && metricsTokens.some(token => token.length < 16))
    refuse('METRICS_TOKEN: must be at least 16 characters')
  const settings: EdgeSettings = {
    maxConnections: env.MAX_CONNECTIONS,
    trustProxy: parse('TRUST_PROXY', parseTrustProxy) ?? 'none',
    corsOrigins: readOrigins(reader),
    corsMaxAge: env.CORS_MAX_AGE,
    hstsPreload: env.HSTS_PRELOAD,
    metricsTokens,
    rates: {
      general: parse('RATE_LIMIT_GENERAL', parseRate)!,
      auth: parse('RATE_LIMIT_AUTH', parseRate)!,
      deploy: parse('RATE_LIMIT_DEPLOY', parseRate)!,
      webhook: parse('RATE_LIMIT_WEBHOOK', parseRate)!,
      strict: parse('RATE_LIMIT_STRICT', parseRate)!,
      user: parse('RATE_LIMIT_USER', parseRate)!
    }
  }
  return settings
})

function parseTrustProxy(value: string): TrustProxy {
  if (value === 'none' || value === 'fly') return value
  const blocks = list(value)
  for (const block of blocks) {
    const [address = '', prefix = ''] = block.split('/')
    const bits = isIP(address) === 6 ? 128 : 32
    if (isIP(address) === 0 || !/^\d{1,3}$/.test(prefix) || Number(prefix) > bits)
      throw new Error(`"${block}" is not a CIDR; use none, fly, or CIDRs such as 10.0.0.0/8`)
  }
  return blocks
}

function readOrigins({ parse, production, refuse }: Reader<{ CORS_ORIGINS?: string }>): string[] {
  const origins = parse('CORS_ORIGINS', parseOrigins) ?? []
  for (const origin of origins)
    if (production && (!origin.startsWith('https://') || isLoopback(origin)))
      refuse(`CORS_ORIGINS: ${origin} is not an https origin of another host`)
  return origins
}

function parseOrigins(value: string): string[] {
  const origins = list(value)
  const isExact = (origin: string) => /^https?:\/\/[^*]+$/.test(origin) && URL.parse(origin)?.origin === origin
  const inexact = origins.filter(origin => !isExact(origin))
  if (inexact.length === 0) return origins
  throw new Error(`${inexact.join(' and ')}: not an exact origin such as https://app.example.com`)
}

function parseBearers(value: string): string[] {
  const tokens = list(value)
  if (tokens.every(token => /^[\x21-\x7e]+$/.test(token))) return tokens
  throw new Error('must be printable ASCII without spaces, so that scrapers can send it')
}
