import { isUtf8 } from 'node:buffer'
import type { FastifyInstance } from 'fastify'
import { errors } from '../../plugins/lib/errors.ts'

/**
 * Makes JSON the only accepted body type. Fastify's own parser decodes leniently: invalid UTF-8 would silently be
 * stored as replacement characters. It also accepts plain text.
 */
export function takeOnlyJson(app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser('error', 'error')
  app.removeAllContentTypeParsers()
  app.addContentTypeParser<Buffer>('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    // Many clients send a content type even without a body. The schema decides whether a body is required.
    if (body.length === 0) done(null, null)
    else if (isUtf8(body)) parse(request, body.toString('utf8'), done)
    else done(errors.badRequest('The request body is not UTF-8'))
  })
}
