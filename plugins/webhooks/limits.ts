import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { addressKey } from '../lib/address.ts'
import type { AppError } from '../lib/errors.ts'

type Refusal = AppError | undefined

/** How often deliveries may come. */
export interface DeliveryLimits {
  /** Counts a request that may be anybody's, by its address; once, however often it is called. */
  stranger(request: FastifyRequest, reply: FastifyReply): Refusal | Promise<Refusal>
  /** Takes that back: the request was no stranger's. */
  forgive(request: FastifyRequest): void | Promise<void>
  /** Counts one that is genuine, by whom it is about: those of all accounts come from the same few addresses. */
  account(request: FastifyRequest, reply: FastifyReply, account: string): Refusal | Promise<Refusal>
}

/** The limits of the class `webhook`; none where there is no limiter. */
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
