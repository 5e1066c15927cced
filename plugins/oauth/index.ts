import { createHash } from 'node:crypto'
import { type Static, Type } from '@sinclair/typebox'
import type { FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { browserState } from '../lib/browser-state.ts'
import { errors } from '../lib/errors.ts'
import { type PluginInput, parseOptions } from '../lib/options.ts'
import { refusals } from '../lib/sign-in-refusals.ts'
import { type Keyring, randomKeyring } from '../lib/signer.ts'
import type { Identity, OauthProvider, SpentSignIns } from './port.ts'
import { memorySpentSignIns } from './spent-memory.ts'

export type { Identity, Keyring, OauthProvider, SpentSignIns }

export const OauthOptions = Type.Object(
  {
    redirectUri: Type.String({
      default: 'http://localhost/auth/callback',
      description: 'The callback URL, exactly as registered at the provider.'
    }),
    signInPage: Type.String({
      default: '/login',
      description: 'The page that starts a new sign-in after a failed one.'
    }),
    cookie: Type.String({
      default: 'rhone_sign_in',
      minLength: 1,
      description: 'The cookie that binds a sign-in to the browser that started it.'
    }),
    lifetime: Type.Integer({
      default: 600,
      minimum: 1,
      description: 'Seconds within which a sign-in must be completed.'
    })
  },
  { additionalProperties: false }
)
export type OauthOptions = Static<typeof OauthOptions>

export interface OauthDeps {
  /** Without a provider, sign-in is not configured. */
  provider?: OauthProvider
  /** Signs the OAuth state. Without it, a sign-in must be completed by the process that started it. */
  keys?: Keyring
  spent?: SpentSignIns
}

export interface Oauth {
  readonly isConfigured: boolean
  /** Starts a sign-in. @returns the URL to redirect the browser to */
  begin(reply: FastifyReply, returnTo: string): string
  /**
   * Completes a sign-in when the browser returns from the provider.
   *
   * @throws AppError that tells the user what to do
   */
  complete(request: FastifyRequest, reply: FastifyReply): Promise<{ identity: Identity; returnTo: string }>
}

declare module 'fastify' {
  interface FastifyInstance {
    oauth: Oauth
  }
}

/** Query parameters of the provider's redirect. */
interface Answer {
  code?: string
  state?: string
  error?: string
  error_description?: string
}

/** Signs users in through an external provider: OAuth 2 authorization code flow with PKCE. */
const oauth: FastifyPluginAsync<PluginInput<typeof OauthOptions, OauthDeps>> = async (app, input) => {
  const options = parseOptions('rhone-oauth', OauthOptions, input, ['provider', 'keys', 'spent'])
  const { redirectUri } = options
  const { provider } = input
  const spent = input.spent ?? memorySpentSignIns()
  const refuse = refusals(options.signInPage)
  const browsers = browserState({
    purpose: 'rhone oauth state',
    cookie: options.cookie,
    secure: redirectUri.startsWith('https:'),
    lifetime: options.lifetime,
    keys: input.keys ?? randomKeyring()
  })

  /** The sign-in this browser started, if the returned state matches it and has not expired. */
  function begun(request: FastifyRequest, state: string | undefined) {
    const roundTrip = browsers.read(request, state)
    if (roundTrip === 'absent') throw refuse.otherBrowser()
    if (roundTrip === 'foreign') throw refuse.otherSignIn()
    if (roundTrip === 'late') throw refuse.tooLate()
    return roundTrip
  }

  app.decorate('oauth', {
    isConfigured: provider !== undefined,

    begin(reply, returnTo) {
      if (provider === undefined) throw errors.notConfigured('Signing in with GitHub')
      const { state, nonce: verifier } = browsers.begin(reply, returnTo)
      const challenge = createHash('sha256').update(verifier).digest('base64url')
      return provider.authorizeUrl({ state, challenge, redirectUri })
    },

    async complete(request, reply) {
      if (provider === undefined) throw errors.notConfigured('Signing in with GitHub')
      const { code, state, error, error_description: description } = request.query as Answer
      browsers.clear(reply)
      const { memo, nonce: verifier, until, payload: returnTo } = begun(request, state)
      if (!(await spent.spend(createHash('sha256').update(memo).digest(), until))) throw refuse.repeated()
      if (error === 'access_denied') throw refuse.denied()
      if (error !== undefined || code === undefined) throw refuse.misconfigured(`${error}: ${description}`)

      const identity = await provider.identify({ code, verifier, redirectUri })
      return { identity, returnTo }
    }
  })
}

export default fp(oauth, { name: 'rhone-oauth', fastify: '5.x' })
