import { type Static, Type } from '@sinclair/typebox'
import type { FastifyPluginAsync, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { errors } from '../lib/errors.ts'
import { type PluginInput, parseOptions } from '../lib/options.ts'
import type { Db } from '../lib/own-types.ts'
import { loadPackages } from '../lib/packages.ts'
import { type Keyring, randomKeyring } from '../lib/signer.ts'
import { createFingerprints } from './fingerprint.ts'
import type { Slot } from './keys.ts'
import type { KeptReply, Reply, StoredReply } from './reply.ts'

export { idempotencyDdl } from './ddl.ts'
export type { KeptReply, Reply, StoredReply } from './reply.ts'

export const IdempotencyOptions = Type.Object(
  {
    lockTimeout: Type.Integer({
      default: 2_000,
      minimum: 1,
      description: 'Milliseconds to wait for another request with the same key before replying 409.'
    }),
    retention: Type.Integer({
      default: 48,
      minimum: 24,
      description: 'Hours for which a reply can be repeated.'
    }),
    purgeInterval: Type.Integer({
      default: 3_600_000,
      minimum: 1,
      description: 'Milliseconds between removals of old replies.'
    })
  },
  { additionalProperties: false }
)
export type IdempotencyOptions = Static<typeof IdempotencyOptions>

export interface IdempotencyDeps {
  /** The owner of a request's key. By default the authenticated user; undefined refuses the key with 400. */
  owner?: (request: FastifyRequest) => string | undefined
  /** Keys for request fingerprints. Without it, requests are not compared with those from before a restart. */
  keys?: Keyring
  /** Deletes replies older than an instant. By default from `app.db`, if there is one. */
  purge?: (olderThan: Date) => Promise<void>
}

export interface Idempotency {
  /**
   * Runs some work once per Idempotency-Key. Its reply is stored in the same transaction as its changes, so that both
   * persist or neither does. A repeated request gets the stored reply, with `idempotent-replayed: true`, and changes
   * nothing. An error stores nothing, so that the request can be retried. Without the header, this just runs the work.
   *
   * @param admit throws if the caller may no longer see a stored reply
   */
  run(
    tx: Db,
    request: FastifyRequest,
    work: () => Promise<Reply>,
    admit?: (kept: KeptReply) => Promise<void>
  ): Promise<StoredReply>
}

declare module 'fastify' {
  interface FastifyInstance {
    idempotency: Idempotency
  }
}

const VISIBLE_ASCII = /^[\x21-\x7E]{1,255}$/

/** Lets a client safely repeat a request when it does not know whether the first one arrived. */
const idempotency: FastifyPluginAsync<PluginInput<typeof IdempotencyOptions, IdempotencyDeps>> = async (app, input) => {
  const options = parseOptions('rhone-idempotency', IdempotencyOptions, input, ['owner', 'keys', 'purge'])
  const load = () => import('./keys.ts')
  const { claim, findKept, keep, purgeOlder } = await loadPackages('rhone-idempotency', ['drizzle-orm'], load)
  const fingerprints = createFingerprints(input.keys ?? randomKeyring())
  const owner = input.owner ?? (request => request.principal?.userId)

  app.decorate('idempotency', {
    async run(tx, request, work, admit) {
      const key = keyOf(request)
      if (key === undefined) return await work()
      const principal = owner(request)
      if (principal === undefined) throw errors.badRequest('An Idempotency-Key needs an authenticated request')

      const slot: Slot = { principal, key }
      if (!(await claim(tx, slot, fingerprints.of(request), options.lockTimeout))) {
        const { fingerprint, ...kept } = await findKept(tx, slot)
        if (fingerprints.isOther(request, fingerprint)) throw errors.idempotencyMismatch()
        await admit?.(kept)
        return { ...kept, headers: { ...kept.headers, 'idempotent-replayed': 'true' } }
      }
      const reply = await work()
      await keep(tx, slot, reply)
      return reply
    }
  })

  const purge = input.purge ?? (olderThan => purgeOlder(app.db, olderThan))
  let timer: NodeJS.Timeout | undefined
  function purgeOld(): void {
    purge(new Date(Date.now() - options.retention * 3_600_000)).catch(error =>
      app.log.warn({ err: error }, 'old idempotency keys could not be removed')
    )
  }
  app.addHook('onReady', async () => {
    if (input.purge !== undefined || app.hasDecorator('db'))
      timer = setInterval(purgeOld, options.purgeInterval).unref()
  })
  app.addHook('onClose', async () => clearInterval(timer))
}

function keyOf(request: FastifyRequest): string | undefined {
  const key = request.headers['idempotency-key']
  if (key === undefined) return undefined
  if (typeof key === 'string' && VISIBLE_ASCII.test(key)) return key
  throw errors.badRequest('Idempotency-Key must be 1 to 255 visible ASCII characters')
}

export default fp(idempotency, { name: 'rhone-idempotency', fastify: '5.x' })
