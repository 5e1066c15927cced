import { type Static, Type } from '@sinclair/typebox'
import type { FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { addressKey } from '../lib/address.ts'
import { counter } from '../lib/metrics.ts'
import { type PluginInput, parseOptions } from '../lib/options.ts'
import type { Registry } from '../lib/registry.ts'
import { BodyRoom } from './body-room.ts'
import { deliveryLimits } from './limits.ts'
import { takeRawBodies } from './raw-body.ts'
import { Receiver, WEBHOOK_OUTCOMES, type WebhookOutcome } from './receiver.ts'
import { routeOf } from './route.ts'
import type { DeliveryStore, WebhookSource } from './source.ts'

export type { WebhookOutcome } from './receiver.ts'
export type { Delivery, DeliveryStore, RefusedDelivery, VerifiedDelivery, WebhookSource } from './source.ts'

export const WebhooksOptions = Type.Object(
  {
    prefix: Type.String({ default: '/webhooks', description: 'The path prefix of the routes, one per source.' }),
    bodyLimit: Type.Integer({
      default: 25 * 1024 * 1024,
      minimum: 1,
      description: 'The longest body, in bytes. GitHub sends 25 MiB at most.'
    }),
    bytesInFlight: Type.Integer({
      default: 64 * 1024 * 1024,
      minimum: 1,
      description: 'Maximum total bytes of bodies held at once. Further deliveries are told to retry.'
    }),
    bodyTimeout: Type.Integer({
      default: 10_000,
      minimum: 1,
      description: 'Milliseconds within which a body must arrive; GitHub waits that long for a reply.'
    }),
    shortBody: Type.Integer({
      default: 65_536,
      minimum: 0,
      description: 'Size in bytes from which a body counts against the limit of its address before it is read.'
    }),
    retryAfter: Type.Integer({
      default: 5,
      minimum: 1,
      description: 'Seconds in Retry-After for senders that are told to retry.'
    })
  },
  { additionalProperties: false }
)
export type WebhooksOptions = Static<typeof WebhooksOptions>

export interface WebhooksDeps {
  sources?: readonly WebhookSource[]
  /** Without a store nothing can be acknowledged, so no source counts as configured. */
  store?: DeliveryStore
  registry?: Registry
}

export interface Webhooks {
  /** Counts the outcome of a stored delivery. */
  count(source: string, outcome: WebhookOutcome): void
}

declare module 'fastify' {
  interface FastifyInstance {
    webhooks: Webhooks
  }
}

/**
 * Receives webhook deliveries: `POST /webhooks/<source>`. Each delivery is authenticated by its signature over the raw
 * body, stored once, and acknowledged once stored; processing happens elsewhere. A delivery that could not be stored is
 * never acknowledged, so the sender knows to deliver it again.
 */
const webhooks: FastifyPluginAsync<PluginInput<typeof WebhooksOptions, WebhooksDeps>> = async (app, input) => {
  const options = parseOptions('rhone-webhooks', WebhooksOptions, input, ['sources', 'store', 'registry'])
  if (options.bytesInFlight < options.bodyLimit)
    throw new Error('rhone-webhooks: option "bytesInFlight": must not be below bodyLimit')
  const { sources = [], store } = input
  const outcomes = counter(input.registry, {
    name: 'rhone_webhooks_total',
    help: 'Webhook deliveries, by outcome.',
    labelNames: ['source', 'outcome']
  })
  const room = new BodyRoom(options)
  const limits = deliveryLimits(app)
  const addressOf = addressKey(app)

  app.decorate('webhooks', { count: (source, outcome) => outcomes.inc({ source, outcome }) })
  for (const source of sources) {
    for (const outcome of WEBHOOK_OUTCOMES) outcomes.inc({ source: source.name, outcome }, 0)
    const count = (outcome: WebhookOutcome) => app.webhooks.count(source.name, outcome)
    const receiver = new Receiver({ source, store, limits, shortBody: options.shortBody, count })

    // A separate scope, because only these routes take raw bodies.
    await app.register(async scope => {
      takeRawBodies(scope, room, addressOf, (...refused) => receiver.bodyRefused(...refused))
      scope.post(`${options.prefix}/${source.name}`, {
        ...routeOf(source),
        onRequest: (request, reply) => receiver.screen(request, reply),
        handler: async (request, reply) => reply.code(202).send(await receiver.receive(request, reply))
      })
    })
  }
}

export default fp(webhooks, { name: 'rhone-webhooks', fastify: '5.x' })
