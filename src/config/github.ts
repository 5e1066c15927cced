import { createPrivateKey } from 'node:crypto'
import { Type } from '@sinclair/typebox'
import { credential, identifier, optional, section, text } from './section.ts'
import { list, missing, parseServiceUrl, refusePlainHttp } from './values.ts'

/** GitHub: sign-in, the GitHub App and webhooks. */
export interface GithubSettings {
  /** The OAuth app used for sign-in. */
  readonly github: {
    readonly clientId: string
    readonly clientSecret: string
    readonly url: string
    readonly apiUrl: string
  } | null
  readonly githubApp: {
    readonly id: number
    /** PEM. */
    readonly privateKey: string
    readonly slug: string
  } | null
  /** Newest first; more than one during rotation. */
  readonly githubWebhookSecrets: readonly string[]
  /** GitHub's addresses, set even when no GitHub integration is configured. */
  readonly githubUrls: { readonly url: string; readonly apiUrl: string }
}

const variables = {
  GITHUB_CLIENT_ID: identifier('Client id of the OAuth app for sign-in with GitHub; off when unset.'),
  GITHUB_CLIENT_SECRET: credential('Client secret of that OAuth app.'),
  GITHUB_URL: text('URL of GitHub, or of a GitHub Enterprise Server.', { default: 'https://github.com' }),
  GITHUB_API_URL: optional(text('URL of its API; https://api.github.com, or /api/v3 of GITHUB_URL.')),
  GITHUB_APP_ID: optional(
    Type.Integer({ minimum: 1, description: 'Id of the GitHub App that reads repositories; off when unset.' })
  ),
  GITHUB_APP_PRIVATE_KEY: credential('Its private key: PEM, or PEM in base64.', { days: 180 }),
  GITHUB_APP_SLUG: identifier('The slug of that App: the end of its URL on GitHub.'),
  GITHUB_WEBHOOK_SECRET: credential('The secret of its webhook; a list while rotating.', { form: 'list' })
}

export default section(variables, reader => {
  const { env, parse, refuse } = reader
  const { GITHUB_CLIENT_ID: clientId, GITHUB_CLIENT_SECRET: clientSecret } = env
  if ((clientId === undefined) !== (clientSecret === undefined))
    refuse('GITHUB_CLIENT_ID and GITHUB_CLIENT_SECRET: set both or neither')
  const app = ['GITHUB_APP_ID', 'GITHUB_APP_PRIVATE_KEY', 'GITHUB_APP_SLUG'] as const
  if (app.some(name => env[name] !== undefined)) missing(reader, 'a GitHub App', app)
  refusePlainHttp(reader, ['GITHUB_URL', 'GITHUB_API_URL'])

  const url = parse('GITHUB_URL', parseServiceUrl)!
  const urls = { url, apiUrl: parse('GITHUB_API_URL', parseServiceUrl) ?? apiOf(url) }
  const privateKey = parse('GITHUB_APP_PRIVATE_KEY', parsePrivateKey)
  const settings: GithubSettings = {
    github: clientId && clientSecret ? { clientId, clientSecret, ...urls } : null,
    githubApp:
      env.GITHUB_APP_ID && env.GITHUB_APP_SLUG && privateKey
        ? { id: env.GITHUB_APP_ID, privateKey, slug: env.GITHUB_APP_SLUG }
        : null,
    githubWebhookSecrets: parse('GITHUB_WEBHOOK_SECRET', list) ?? [],
    githubUrls: urls
  }
  return settings
})

function apiOf(githubUrl: string): string {
  return githubUrl === 'https://github.com' ? 'https://api.github.com' : `${githubUrl}/api/v3`
}

/** A PEM, which may also be a single line with `\\n` as line ends, or entirely base64. Always returns PEM. */
function parsePrivateKey(value: string): string {
  const pem = value.includes('-----BEGIN')
    ? value.replaceAll('\\n', '\n')
    : Buffer.from(value, 'base64').toString('utf8')
  try {
    return createPrivateKey(pem).export({ type: 'pkcs8', format: 'pem' }).toString()
  } catch {
    throw new Error('must be a private key as PEM, or PEM in base64')
  }
}
