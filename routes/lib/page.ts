import type { FastifyInstance, FastifyReply } from 'fastify'

/** @param page the page, given the nonce by which its CSP lets its style in */
export function sendPage(app: FastifyInstance, reply: FastifyReply, page: (nonce: string) => string): FastifyReply {
  const nonce = app.hasDecorator('securityHeaders') ? app.securityHeaders.page(reply) : ''
  return reply.type('text/html; charset=utf-8').send(page(nonce))
}
