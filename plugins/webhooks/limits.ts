import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { addressKey } from '../lib/address.ts'
import type { AppError } from '../lib/errors.ts'

type Refusal = AppError | undefined

/** How often deliveries may come. */
export interface DeliveryLimits {
  /** Counts a request that may be anybody's, by its address. */
  stranger(request: FastifyRequest, reply: FastifyReply): Refusal | Promise<Refusal>
  /** Counts one that is genuine, by whom it is about: those of all accounts come from the same few addresses. */
  account(request: FastifyRequest, reply: FastifyReply, account: string): Refusal | Promise<Refusal>
}

/** The limits of the class `webhook`; none where there is no limiter. */
export function deliveryLimits(app: FastifyInstance): DeliveryLimits {
  if (!app.hasDecorator('rateLimiter')) return { stranger: () => undefined, account: () => undefined }

  const accounts = new WeakMap<FastifyRequest, string>()
  const byAccount = app.rateLimiter.step(
    () => 'webhook',
    request => accounts.get(request)
  )
  return {
    stranger: app.rateLimiter.step(() => 'webhook', addressKey(app)),
    account(request, reply, account) {
      accounts.set(request, account)
      return byAccount(request, reply)
    }
  }
}
