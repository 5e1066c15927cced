import type { Registry } from '@platformatic/prom-client'
import { type TSchema, Type } from '@sinclair/typebox'
import { type Latest, latest } from '../../plugins/lib/latest.ts'
import { createRemote, type RemoteError } from '../../plugins/lib/remote.ts'
import { refusals } from '../../plugins/lib/sign-in-refusals.ts'
import type { OauthProvider } from '../../plugins/oauth/index.ts'

export interface GithubSettings {
  readonly clientId: string
  readonly clientSecret: Latest<string>
  /** https://github.com, or the URL of a GitHub Enterprise Server. */
  readonly url: string
  /** https://api.github.com, or `/api/v3` of the server. */
  readonly apiUrl: string
  /** Where users start over after a refused sign-in. */
  readonly signInPage: string
  /** Milliseconds for GitHub to answer. */
  readonly timeout?: number
  readonly registry?: Registry
}

const User = Type.Object({
  id: Type.Integer({ minimum: 1 }),
  login: Type.String({ minLength: 1, maxLength: 255 }),
  avatar_url: Type.Optional(Type.Union([Type.String(), Type.Null()]))
})
const Emails = Type.Array(Type.Object({ email: Type.String(), primary: Type.Boolean(), verified: Type.Boolean() }))

const LONGEST_EMAIL = 255
const LONGEST_URL = 500

/** GitHub as an OAuth provider. Its token is used only to identify the user, and is never stored. */
export function githubProvider(settings: GithubSettings): OauthProvider {
  const { clientId, clientSecret, url, apiUrl, timeout = 5_000, registry } = settings
  const refuse = refusals(settings.signInPage)
  const shared = { service: 'github', timeout, retries: 1, registry }
  const site = createRemote({ ...shared, baseUrl: url })
  const api = createRemote({ ...shared, baseUrl: apiUrl, headers: { 'x-github-api-version': '2022-11-28' } })

  async function exchange(code: string, verifier: string, redirectUri: string): Promise<string> {
    const request = {
      operation: 'exchange_code',
      method: 'POST',
      path: '/login/oauth/access_token',
      accept: [400],
      body: new URLSearchParams({
        grant_type: 'authorization_code',
        client_id: clientId,
        client_secret: latest(clientSecret),
        code,
        redirect_uri: redirectUri,
        code_verifier: verifier
      })
    } as const
    const { body } = await site.call(request).catch(refuseFailure)
    // GitHub answers 200 to a code it rejects; others answer 400.
    const { access_token: token, error, error_description: description } = Object(body)
    if (typeof token === 'string' && token !== '') return token
    if (error === 'bad_verification_code' || error === 'invalid_grant') throw refuse.staleCode()
    if (error === 'unverified_user_email') throw refuse.unverified(`${url}/settings/emails`)
    throw refuse.misconfigured(`${error}: ${description}`)
  }

  async function read<Schema extends TSchema>(operation: string, path: string, token: string, schema: Schema) {
    const headers = { authorization: `Bearer ${token}` }
    const { body } = await api.call({ operation, path, headers, schema }).catch(refuseFailure)
    return body
  }

  function refuseFailure(error: RemoteError): never {
    const { kind, status } = error
    const isOurs = kind === 'shape' || (kind === 'status' && !error.isOutage && status !== 429)
    throw isOurs ? refuse.misconfigured(error.message) : refuse.unreachable(error)
  }

  return {
    authorizeUrl({ state, challenge, redirectUri }) {
      const query = new URLSearchParams({
        response_type: 'code',
        client_id: clientId,
        redirect_uri: redirectUri,
        scope: 'read:user user:email',
        state,
        code_challenge: challenge,
        code_challenge_method: 'S256'
      })
      return `${url}/login/oauth/authorize?${query}`
    },

    async identify({ code, verifier, redirectUri }) {
      const token = await exchange(code, verifier, redirectUri)
      const [user, emails] = await Promise.all([
        read('get_user', '/user', token, User),
        read('list_emails', '/user/emails?per_page=100', token, Emails)
      ])
      const primary = emails.find(email => email.primary && email.verified && email.email.length <= LONGEST_EMAIL)
      if (primary === undefined) throw refuse.unverified(`${url}/settings/emails`)
      const { id, login: username, avatar_url: avatar } = user
      const avatarUrl = avatar && avatar.length <= LONGEST_URL && avatar.startsWith('https://') ? avatar : null
      return { id, username, email: primary.email, avatarUrl }
    }
  }
}
