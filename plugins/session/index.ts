import { randomBytes } from 'node:crypto'
import { type Static, Type } from '@sinclair/typebox'
import type { FastifyPluginAsync, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { AuthorizeAtOnce } from '../lib/authorize.ts'
import { cookieName, readCookie, setCookie } from '../lib/cookies.ts'
import { type PluginInput, parseOptions } from '../lib/options.ts'
import type { Db, SignInMethod } from '../lib/own-types.ts'
import { type CredentialSource, createPrincipalCache } from '../lib/principals.ts'
import { hashOfKey, tokenKey } from '../lib/token.ts'
import type { NewSession, SessionStore, SessionUser } from './port.ts'
import { memorySessionStore } from './store-memory.ts'

export { sessionDdl } from './ddl.ts'
export type { NewSession, SessionStore, SessionUser }

export const SessionOptions = Type.Object(
  {
    secure: Type.Boolean({
      default: true,
      description: 'Clients connect over HTTPS: the cookie is Secure and has the prefix __Host-.'
    }),
    cookie: Type.String({ default: 'rhone_session', minLength: 1, description: 'The name of the cookie.' }),
    idle: Type.Integer({
      default: 7 * 86_400,
      minimum: 1,
      description: 'Seconds without a request after which a session ends.'
    }),
    lifetime: Type.Integer({
      default: 30 * 86_400,
      minimum: 1,
      description: 'Seconds after which a session ends, even in use.'
    }),
    ttl: Type.Integer({
      default: 5_000,
      minimum: 0,
      maximum: 5_000,
      description: 'Milliseconds for which a session is cached.'
    }),
    cacheSize: Type.Integer({ default: 10_000, minimum: 1, description: 'Maximum number of cached sessions.' })
  },
  { additionalProperties: false }
)
export type SessionOptions = Static<typeof SessionOptions>

export interface SessionDeps {
  /** Whether a request may present a session at all; for any other request, its cookie counts as expired. */
  accepts?: AuthorizeAtOnce
  /** Without a store, sessions are kept in this process's memory. */
  store?: SessionStore
  /**
   * Reports every session or user that has changed, by id, and gaps after which any may have changed.
   *
   * @returns unsubscribes
   */
  changes?: (onChange: (id: string) => void, onGap: () => void) => Promise<() => Promise<void>>
}

export interface Sessions extends CredentialSource {
  /** The name of the cookie, as browsers send it. */
  readonly cookie: string
  /**
   * Signs a user in with a new secret, and ends the browser's previous session.
   *
   * @returns the session id, and the `set-cookie` to send once this is committed
   */
  begin(
    tx: Db | null,
    request: FastifyRequest,
    user: SessionUser,
    method: SignInMethod
  ): Promise<{ id: string; cookie: string }>
  /** Ends the session of a request, if it has one. @returns the `set-cookie` that removes the cookie */
  end(tx: Db | null, request: FastifyRequest): Promise<{ id: string | undefined; cookie: string }>
  /** The cookie's value, valid or not: for binding other things to the session. */
  secretOf(request: FastifyRequest): string | undefined
}

declare module 'fastify' {
  interface FastifyInstance {
    session: Sessions
  }
}

/** 256 bits. */
const SECRET_BYTES = 32
const SECRET_FORM = /^[\w-]{43}$/

/** Identifies browsers by an opaque cookie. It has no hooks: only requests that ask for the session pay for it. */
const session: FastifyPluginAsync<PluginInput<typeof SessionOptions, SessionDeps>> = async (app, input) => {
  const { secure, ...options } = parseOptions('rhone-session', SessionOptions, input, ['accepts', 'store', 'changes'])
  const { accepts = () => true } = input
  const store = input.store ?? memorySessionStore()
  const name = cookieName(options.cookie, secure)
  const inSeconds = (seconds: number) => new Date(Date.now() + seconds * 1_000)

  const principals = createPrincipalCache(
    { verify: hash => store.find(hash, inSeconds(options.idle)) },
    { ttl: options.ttl, refusalTtl: Math.min(options.ttl, 1_000), max: options.cacheSize }
  )

  function hashOf(request: FastifyRequest): Buffer | undefined {
    const secret = readCookie(request, name)
    return secret !== undefined && SECRET_FORM.test(secret) && accepts(request) === true
      ? hashOfKey(tokenKey(secret))
      : undefined
  }

  async function endOf(tx: Db | null, request: FastifyRequest): Promise<string | undefined> {
    const hash = hashOf(request)
    const id = hash && (await store.end(tx, hash))
    if (id !== undefined) principals.forget(id)
    return id
  }

  app.decorate('session', {
    cookie: name,

    secretOf: request => readCookie(request, name),

    identify(request) {
      const { cookie, authorization } = request.headers
      if (cookie === undefined || authorization !== undefined || !cookie.includes(name)) return undefined
      const secret = readCookie(request, name)
      if (secret === undefined) return undefined
      if (!SECRET_FORM.test(secret) || accepts(request) !== true) return null
      const key = tokenKey(secret)
      const known = principals.peek(key)
      return known === undefined ? principals.load(key) : known
    },

    async begin(tx, request, user, method) {
      await endOf(tx, request)
      const secret = randomBytes(SECRET_BYTES).toString('base64url')
      const id = await store.create(tx, {
        secretHash: hashOfKey(tokenKey(secret)),
        user,
        method,
        ip: request.clientIp?.address ?? request.socket?.remoteAddress,
        userAgent: request.headers['user-agent'],
        idleUntil: inSeconds(options.idle),
        expiresAt: inSeconds(options.lifetime)
      })
      return { id, cookie: setCookie(name, secret, { secure, maxAge: options.lifetime }) }
    },

    async end(tx, request) {
      const id = await endOf(tx, request)
      return { id, cookie: setCookie(name, '', { secure, maxAge: 0 }) }
    },

    forget: principals.forget
  })

  if (input.changes !== undefined) {
    const ending = await input.changes(principals.forget, () => principals.forget())
    app.addHook('onClose', ending)
  }
}

export default fp(session, { name: 'rhone-session', fastify: '5.x' })
