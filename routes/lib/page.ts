import type { FastifyInstance, FastifyReply } from 'fastify'

/** @param page renders the page; gets the nonce that its CSP allows styles by */
export function sendPage(app: FastifyInstance, reply: FastifyReply, page: (nonce: string) => string): FastifyReply {
  const nonce = app.hasDecorator('securityHeaders') ? app.securityHeaders.page(reply) : ''
  return reply.type('text/html; charset=utf-8').send(page(nonce))
}
