import { type Static, Type } from '@sinclair/typebox'
import type { FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { AuthorizeAtOnce } from '../lib/authorize.ts'
import { cookieName, readCookie, setCookie } from '../lib/cookies.ts'
import { type Outcome, onEntry } from '../lib/entry.ts'
import { errors } from '../lib/errors.ts'
import { tallies } from '../lib/metrics.ts'
import { type PluginInput, parseOptions } from '../lib/options.ts'
import type { Registry } from '../lib/registry.ts'
import { routeConfig, useRouteConfig } from '../lib/route-config.ts'
import { type Keyring, randomKeyring } from '../lib/signer.ts'
import { FORWARDED, forwarder } from './forward.ts'
import { type Position, positionTokens } from './position.ts'

export const RegionsOptions = Type.Object(
  {
    region: Type.String({ default: '', description: 'The Fly region of this instance. Empty: not on Fly.' }),
    primaryRegion: Type.String({
      default: '',
      description: 'The Fly region that requests with changes are replayed in. Empty: none.'
    }),
    primaryUrl: Type.String({
      default: '',
      description: 'URL of the instances near the primary database. Empty: this instance writes to the primary itself.'
    }),
    replayLimit: Type.Integer({
      default: 1_000_000,
      minimum: 0,
      description: 'Maximum body size in bytes that Fly replays in another region.'
    }),
    forwardTimeout: Type.Integer({
      default: 25_000,
      minimum: 1,
      description: 'Milliseconds without traffic after which a forwarded request fails.'
    }),
    secure: Type.Boolean({
      default: true,
      description: 'Clients connect over HTTPS: the cookie is Secure and has the prefix __Host-.'
    }),
    cookie: Type.String({
      default: 'rhone_position',
      minLength: 1,
      description: 'The cookie that holds the position of the last change.'
    }),
    remember: Type.Integer({
      default: 60,
      minimum: 1,
      description: 'Seconds for which browsers keep that cookie: longer than any replica is behind and still used.'
    })
  },
  { additionalProperties: false }
)
export type RegionsOptions = Static<typeof RegionsOptions>

export interface RegionsDeps {
  registry?: Registry
  /** The copies of the database; without them the plugin does nothing. */
  copies?: Copies
  /** Signs positions, with the same keys on all instances. Without it, other instances do not accept them. */
  keys?: Keyring
  /** Whether a request may see data of any age while there is no primary; default: no request may. */
  mayBeOld?: AuthorizeAtOnce
}

/** The copies of a database, as seen from this instance. */
export interface Copies {
  /** `replica`: the nearest copy follows another server. */
  readonly role: 'primary' | 'replica'
  /** The current end of the primary's log. */
  position(): Promise<Position>
  /** Reports another instance's position, which may show that a server was promoted. */
  observe(position: Position): void
  /** Runs `body`. The replica may answer its reads under these conditions. */
  within(reading: { readonly position: Position | null; readonly mayBeOld: boolean }, body: () => void): void
}

/** The header that API clients may send back instead of the cookie. */
const HEADER = 'x-database-position'
const SAFE: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE'])
const UNREACHABLE = 'The primary region cannot be reached'
const WAYS = ['replayed', 'forwarded', 'here', 'failed'] as const

/**
 * For one server in several regions, each with a copy of the database. Changes run next to the primary: on Fly by
 * asking its proxy to replay the request there, elsewhere by forwarding it. A client that changes something gets the
 * change's position, and its later reads show at least that state.
 */
const regions: FastifyPluginAsync<PluginInput<typeof RegionsOptions, RegionsDeps>> = async (app, input) => {
  const options = parseOptions('rhone-regions', RegionsOptions, input, ['registry', 'copies', 'keys', 'mayBeOld'])
  const { copies, mayBeOld = () => false } = input
  if (copies === undefined) return
  const { region, primaryRegion, primaryUrl, replayLimit, secure } = options
  const tokens = positionTokens(input.keys ?? randomKeyring())
  const cookie = cookieName(options.cookie, secure)
  const handOvers = tallies(input.registry, {
    name: 'rhone_region_changes_total',
    help: 'Requests with changes at an instance near a replica, by how they were handled.',
    labelNames: ['way']
  })
  for (const way of WAYS) handOvers(way)
  const forward = primaryUrl === '' ? undefined : forwarder(new URL(primaryUrl), options.forwardTimeout)
  const canReplay = region !== '' && primaryRegion !== '' && region !== primaryRegion

  useRouteConfig(app)
  onEntry(app, (request, reply) => {
    const position = tokens.read(sentBy(request))
    if (position !== null) copies.observe(position)
    if (copies.role === 'primary') return undefined
    if (!SAFE.has(request.method)) return handOver(request, reply)
    return resume => copies.within({ position, mayBeOld: mayBeOld(request) === true }, () => resume(undefined))
  })

  const sendPosition = async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    try {
      const token = tokens.make(await copies.position())
      reply.header(HEADER, token).header('set-cookie', setCookie(cookie, token, { secure, maxAge: options.remember }))
    } catch (err) {
      request.log.warn({ err }, 'the position of a change is unknown: the client may not see its change at once')
    }
  }

  app.addHook('onSend', (request, reply, payload, done) => {
    if (!mayHaveChanged(request, reply) || reply.hasHeader('fly-replay') || reply.hasHeader(HEADER)) done(null, payload)
    else void sendPosition(request, reply).then(() => done(null, payload))
  })
  app.addHook('onClose', async () => forward?.close())

  function handOver(request: FastifyRequest, reply: FastifyReply): Outcome | Promise<Outcome> {
    const { headers } = request
    if (headers['fly-replay-failed'] !== undefined) return refused()
    // It was handed over before: the regions disagree about where the primary is, and another round would not help.
    if (headers['fly-replay-src'] !== undefined || headers[FORWARDED] !== undefined) return madeHere()
    if (canReplay && sizeOf(request) <= replayLimit) {
      handOvers('replayed').add()
      const target = `region=${primaryRegion};timeout=2s;fallback=force_self`
      return reply.code(409).header('fly-replay', target).header('cache-control', 'no-store').send()
    }
    if (forward === undefined) return madeHere()
    return forward.send(request, reply).then(
      sent => {
        handOvers('forwarded').add()
        return sent
      },
      (cause: unknown) => refused(cause)
    )
  }

  function madeHere(): undefined {
    handOvers('here').add()
  }

  function refused(cause?: unknown): Error {
    handOvers('failed').add()
    return errors.unavailable(2, UNREACHABLE, cause)
  }

  function sentBy(request: FastifyRequest): string | undefined {
    const header = request.headers[HEADER]
    return typeof header === 'string' ? header : readCookie(request, cookie)
  }
}

/** A sign-in ends with a redirect, in answer to a GET. */
function mayHaveChanged(request: FastifyRequest, { statusCode }: FastifyReply): boolean {
  if (SAFE.has(request.method)) return statusCode === 302 || statusCode === 303
  return statusCode < 500 && routeConfig(request).priority !== 'webhook'
}

/** Bytes of the body; Infinity if it is not announced. */
function sizeOf({ headers }: FastifyRequest): number {
  if (headers['transfer-encoding'] !== undefined) return Number.POSITIVE_INFINITY
  return Number(headers['content-length'] ?? 0)
}

export default fp(regions, { name: 'rhone-regions', fastify: '5.x' })
