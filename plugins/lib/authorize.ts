import type { FastifyRequest } from 'fastify'

/**
 * Decides whether a request may use what the option guards. Only `true` grants access; any other value, a rejection or
 * an exception refuses. Every plugin that guards something takes this as its `authorize` option.
 */
export type Authorize = (request: FastifyRequest) => boolean | Promise<boolean>

/** The same, decided without waiting. */
export type AuthorizeAtOnce = (request: FastifyRequest) => boolean

/** @throws whatever `authorize` throws, which also means no permission */
export async function isAuthorized(authorize: Authorize, request: FastifyRequest): Promise<boolean> {
  return (await authorize(request)) === true
}
