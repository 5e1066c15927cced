import { randomBytes } from 'node:crypto'
import { SECRETS } from '../../config/index.ts'
import { generateKey } from '../../config/keyring.ts'

/** The secret classes that can be rotated separately, each with its variable. */
const CLASSES: Readonly<Record<string, string>> = {
  session: 'SESSION_KEYS',
  signing: 'SIGNING_KEYS',
  encryption: 'ENCRYPTION_KEYS',
  database: 'DATABASE_URL',
  redis: 'REDIS_URL',
  metrics: 'METRICS_TOKEN',
  'github-client': 'GITHUB_CLIENT_SECRET',
  'github-app': 'GITHUB_APP_PRIVATE_KEY',
  'github-webhook': 'GITHUB_WEBHOOK_SECRET',
  fly: 'FLY_API_TOKEN',
  registry: 'REGISTRY_TOKEN',
  stripe: 'STRIPE_SECRET_KEY'
}

/** Resolves a class; it may also be given by its variable. */
export function classOf(given: string): { readonly name: string; readonly variable: string } | undefined {
  const found = Object.entries(CLASSES).find(([name, variable]) => given === name || given === variable)
  return found && { name: found[0], variable: found[1] }
}

export const classNames = (): string[] => Object.keys(CLASSES)

/** Secrets that we generate ourselves. */
const OURS: ReadonlySet<string> = new Set(['METRICS_TOKEN', 'GITHUB_WEBHOOK_SECRET'])

/** Whether a new value must be given because another service issues it. */
export function isIssuedElsewhere(variable: string): boolean {
  return SECRETS.get(variable)?.form !== 'keyring' && !OURS.has(variable)
}

/**
 * A variable's value with a new secret, followed by the old one if both can be accepted.
 * @param issued the new secret, if another service issues it
 */
export function withNewSecret(variable: string, before: string, issued?: string): string {
  switch (SECRETS.get(variable)?.form) {
    case 'keyring':
      return `${generateKey()},${before}`
    case 'list':
      return [issued ?? randomBytes(32).toString('base64url'), before.split(',')[0]!.trim()].filter(Boolean).join(',')
    default:
      return issued!
  }
}

/** The value without its older secrets. */
export function withoutOldSecrets(before: string): string {
  return before.split(',')[0]!.trim()
}

/** The URL with another user and password; everything else stays. */
export function withCredentials(url: string, user: string, password: string): string {
  return url.replace(
    /^([\w+.-]+:\/\/)(?:[^/?#]*@)?/,
    (_, scheme) => `${scheme}${encodeURIComponent(user)}:${password}@`
  )
}
