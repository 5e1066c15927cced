import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { addressKey } from '../lib/address.ts'
import type { AppError } from '../lib/errors.ts'

type Refusal = AppError | undefined

/** Rate limits for deliveries. */
export interface DeliveryLimits {
  /** Counts an unauthenticated request against its address; at most once per request. */
  stranger(request: FastifyRequest, reply: FastifyReply): Refusal | Promise<Refusal>
  /** Refunds that count once the request has been authenticated. */
  forgive(request: FastifyRequest): void | Promise<void>
  /** Counts an authenticated delivery against its account, since all accounts share the sender's few addresses. */
  account(request: FastifyRequest, reply: FastifyReply, account: string): Refusal | Promise<Refusal>
}

/** The limits of the rate class `webhook`; none without a rate limiter. */
export function deliveryLimits(app: FastifyInstance): DeliveryLimits {
  if (!app.hasDecorator('rateLimiter'))
    return { stranger: () => undefined, forgive: () => undefined, account: () => undefined }

  const accounts = new WeakMap<FastifyRequest, string>()
  const counted = new WeakSet<FastifyRequest>()
  const keyOf = addressKey(app)
  const byAddress = app.rateLimiter.step(() => 'webhook', keyOf)
  const byAccount = app.rateLimiter.step(
    () => 'webhook',
    request => accounts.get(request)
  )
  return {
    stranger(request, reply) {
      if (counted.has(request)) return undefined
      counted.add(request)
      return byAddress(request, reply)
    },
    forgive(request) {
      if (counted.has(request)) return app.rateLimiter.refund('webhook', keyOf(request))
    },
    account(request, reply, account) {
      accounts.set(request, account)
      return byAccount(request, reply)
    }
  }
}
