import type { FastifyRequest } from 'fastify'

/**
 * Whether a request may do what the option guards. Only `true` lets it: `false`, any other value, a rejection and an
 * exception refuse. Every plugin that guards something takes this as its option `authorize`.
 */
export type Authorize = (request: FastifyRequest) => boolean | Promise<boolean>

/** @throws what `authorize` throws, which is no permission either */
export async function isAuthorized(authorize: Authorize, request: FastifyRequest): Promise<boolean> {
  return (await authorize(request)) === true
}
