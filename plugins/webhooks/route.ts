import { Type } from '@sinclair/typebox'
import type { RouteShorthandOptions } from 'fastify'
import type { WebhookSource } from './source.ts'

const Receipt = Type.Object(
  {
    accepted: Type.Literal(true, { description: 'Always true.' }),
    duplicate: Type.Boolean({ description: 'Whether the delivery had been received before.' })
  },
  { title: 'Receipt', description: 'The delivery is stored and will be processed.' }
)

/** The schema and config of a source's route. */
export function routeOf({ name }: WebhookSource) {
  return {
    schema: {
      operationId: `receive${name.charAt(0).toUpperCase()}${name.slice(1)}Webhook`,
      summary: `Receive an event of ${name}`,
      tags: ['webhooks'],
      body: Type.Unsafe<Buffer>({ description: 'The body as sent. The signature covers exactly these bytes.' }),
      response: { 202: Receipt }
    },
    config: {
      access: 'public',
      rateClass: 'webhook',
      rateCount: 'later',
      priority: 'webhook',
      slo: 'write',
      maintenance: false,
      cors: false,
      audit: { type: 'auth', action: 'deliver', resource: 'webhook' }
    }
  } as const satisfies RouteShorthandOptions
}
