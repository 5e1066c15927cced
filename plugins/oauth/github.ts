import type { Registry } from '@platformatic/prom-client'
import { Type } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import { histogram } from '../lib/metrics.ts'
import type { OauthProvider } from './index.ts'
import { refusals } from './refusals.ts'

export interface GithubSettings {
  readonly clientId: string
  readonly clientSecret: string
  /** https://github.com, or that of a GitHub Enterprise Server. */
  readonly url: string
  /** https://api.github.com, or `/api/v3` of the server. */
  readonly apiUrl: string
  /** Where somebody whose sign-in was refused begins again. */
  readonly signInPage: string
  /** Milliseconds for GitHub to answer in. */
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

/** GitHub as an OAuth provider. Its token is used to ask who somebody is, and is kept nowhere. */
export function githubProvider(settings: GithubSettings): OauthProvider {
  const { clientId, clientSecret, url, apiUrl, timeout = 5_000 } = settings
  const refuse = refusals(settings.signInPage)
  const durations = histogram(settings.registry, {
    name: 'rhone_dependency_request_duration_seconds',
    help: 'Calls to other services.',
    labelNames: ['service', 'operation', 'outcome'],
    buckets: [0.05, 0.1, 0.2, 0.5, 1, 2, 5]
  })

  /** What GitHub answers, as JSON. @throws AppError when it does not, or only with a failure of its own */
  async function ask(operation: string, target: string, init: RequestInit): Promise<{ status: number; body: unknown }> {
    const stop = timer()
    try {
      const headers = { 'user-agent': 'rhone', accept: 'application/json', ...init.headers }
      const signal = AbortSignal.timeout(timeout)
      const response = await fetch(target, { ...init, headers, signal, redirect: 'error' })
      if (response.status >= 500 || response.status === 429) throw new Error(`${operation}: HTTP ${response.status}`)
      const body: unknown = await response.json()
      stop(operation, 'success')
      return { status: response.status, body }
    } catch (cause) {
      stop(operation, 'failure')
      throw refuse.unreachable(cause)
    }
  }

  function timer() {
    const start = performance.now()
    return (operation: string, outcome: string) =>
      durations.observe({ service: 'github', operation, outcome }, (performance.now() - start) / 1_000)
  }

  async function exchange(code: string, verifier: string, redirectUri: string): Promise<string> {
    const { body } = await ask('exchange_code', `${url}/login/oauth/access_token`, {
      method: 'POST',
      body: new URLSearchParams({
        grant_type: 'authorization_code',
        client_id: clientId,
        client_secret: clientSecret,
        code,
        redirect_uri: redirectUri,
        code_verifier: verifier
      })
    })
    // GitHub answers 200 to a code that it does not take.
    const { access_token: token, error, error_description: description } = body as Record<string, unknown>
    if (typeof token === 'string' && token !== '') return token
    if (error === 'bad_verification_code' || error === 'invalid_grant') throw refuse.staleCode()
    if (error === 'unverified_user_email') throw refuse.unverified()
    throw refuse.misconfigured(`${error}: ${description}`)
  }

  /** Asking who somebody is may be repeated, and is, once. */
  async function read(operation: string, path: string, token: string): Promise<unknown> {
    const headers = { authorization: `Bearer ${token}`, 'x-github-api-version': '2022-11-28' }
    const get = () => ask(operation, `${apiUrl}${path}`, { headers })
    const { status, body } = await get().catch(get)
    if (status !== 200) throw refuse.misconfigured(`${operation}: HTTP ${status}`)
    return body
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
        read('get_user', '/user', token),
        read('list_emails', '/user/emails?per_page=100', token)
      ])
      if (!Value.Check(User, user) || !Value.Check(Emails, emails))
        throw refuse.misconfigured('an answer of another form')
      const primary = emails.find(email => email.primary && email.verified && email.email.length <= LONGEST_EMAIL)
      if (primary === undefined) throw refuse.unverified()
      const { id, login: username, avatar_url: avatar } = user
      const avatarUrl = avatar && avatar.length <= LONGEST_URL && avatar.startsWith('https://') ? avatar : null
      return { id, username, email: primary.email, avatarUrl }
    }
  }
}
