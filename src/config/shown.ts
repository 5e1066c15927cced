import { hostUrls } from '../../plugins/lib/postgres.ts'
import type { Config } from './index.ts'
import type { Keyring } from './keyring.ts'

/** A setting as it may be shown. */
export type Printable = string | number | boolean | null

/**
 * How each setting is displayed. Every key needs a row, so a new setting does not compile until its visibility is
 * decided.
 */
const SHOWN: { readonly [Key in keyof Config]: (value: Config[Key]) => Printable | Record<string, Printable> } = {
  environment: plain,
  production: plain,
  version: plain,
  host: plain,
  port: plain,
  baseUrl: url => url.origin,
  securityContact: plain,
  tls: tls => tls && { ...tls },
  dataDir: plain,
  database: ({ url, directUrl, adminUrl, replicaUrl, poolMax, prepare }) => ({
    url: withoutSecrets(url),
    adminUrl: withoutSecrets(adminUrl),
    directUrl: withoutSecrets(directUrl),
    replicaUrl: withoutSecrets(replicaUrl),
    poolMax,
    prepare
  }),
  maxConnections: plain,
  redisUrl: withoutSecrets,
  trustProxy: value => (typeof value === 'string' ? value : value.join(',')),
  corsOrigins: origins => origins.join(','),
  corsMaxAge: plain,
  hstsPreload: plain,
  metricsTokens: tokens => `${tokens.length} set`,
  logLevel: plain,
  keys: ({ session, encryption, signing }) => ({
    session: keyIds(session),
    encryption: keyIds(encryption),
    signing: keyIds(signing)
  }),
  github: github => github && { clientId: github.clientId, url: github.url, apiUrl: github.apiUrl },
  githubApp: app => app && { id: app.id, slug: app.slug },
  githubWebhookSecrets: secrets => `${secrets.length} set`,
  githubUrls: urls => ({ ...urls }),
  fly: fly => fly && { org: fly.org, apiUrl: fly.apiUrl, graphqlUrl: fly.graphqlUrl, token: hidden(fly.token) },
  deployer: plain,
  builder: plain,
  buildkit: buildkit => buildkit && { ...buildkit },
  registry: ({ host, token }) => ({ host, token: hidden(token) }),
  appsPort: plain,
  prometheusUrl: withoutSecrets,
  defaultPlan: plain,
  backups: ({
    target,
    recipients,
    keyRecipients,
    identityFile,
    schedule,
    drillSchedule,
    keep,
    continuous,
    waitingLimit
  }) => ({
    target: target && ('directory' in target ? target.directory : `s3://${target.s3.bucket}/${target.s3.prefix}`),
    recipients: recipients.join(','),
    keyRecipients: keyRecipients.join(','),
    identityFile,
    schedule,
    drillSchedule,
    keep: `${keep.days}d${keep.weeks}w${keep.months}m`,
    continuous,
    waitingLimit
  }),
  notifyWebhookUrl: hidden,
  mail: mail => mail && { url: withoutSecrets(mail.url), from: mail.from },
  notifyEmail: addresses => addresses.join(','),
  regions: ({ own, primary, primaryUrl }) => ({ own, primary, primaryUrl: primaryUrl?.origin ?? null }),
  localAccounts: plain,
  telemetry: ({ otlpEndpoint, sampleRatio, sentryDsn }) => ({
    otlpEndpoint: withoutSecrets(otlpEndpoint),
    sampleRatio,
    sentryDsn: hidden(sentryDsn)
  }),
  rates: rates =>
    Object.fromEntries(Object.entries(rates).map(([name, rate]) => [name, `${rate.ratePerSecond}/s:${rate.burst}`])),
  drainGrace: plain,
  workers: plain,
  memoryLimit: plain,
  swaps: swaps => Object.fromEntries(Object.entries(swaps).map(([name, swap]) => [name, swap || 'off'])),
  shortcuts: shortcuts => [...shortcuts].join(','),
  secrets: values => ({ set: [...values.keys()].join(',') }),
  secretsSource: describeSource,
  client: ({ url, token }) => ({ url: withoutSecrets(url), token: hidden(token) })
}

/** The settings, without secrets. */
export function describe(config: Config): Record<string, Printable | Record<string, Printable>> {
  const show = <Key extends keyof Config>(key: Key) => [key, SHOWN[key](config[key])] as const
  return Object.fromEntries((Object.keys(config) as (keyof Config)[]).map(show))
}

function plain<Value>(value: Value): Value {
  return value
}

function hidden(secret: string | null): string | null {
  return secret === null ? null : '(set)'
}

function describeSource(spec: Config['secretsSource']): string {
  switch (spec.kind) {
    case 'env':
      return 'env'
    case 'dir':
      return `dir:${spec.path}`
    case 'exec':
      return 'exec:***'
    case 'vault':
      return `vault:${spec.origin}/${spec.mount}/${spec.path}${spec.transit ? `?transit=${spec.transit.mount}/${spec.transit.key}` : ''}`
  }
}

function keyIds(keyring: Keyring | null): string | null {
  return keyring === null ? null : [...keyring.keys.keys()].join(',')
}

/** Shows only the host and the path; user, password and parameters may all be secrets. */
function withoutSecrets(address: string | null): string | null {
  if (address === null) return null
  if (address.startsWith('postgres') && hostUrls(address).length > 1)
    return hostUrls(address).map(withoutSecrets).join(', ')
  const url = URL.parse(address)
  return url === null
    ? '(set)'
    : `${url.protocol}//${url.username || url.password ? '***@' : ''}${url.host}${url.pathname}`
}
