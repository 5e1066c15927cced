import { isUtf8 } from 'node:buffer'
import type { FastifyInstance } from 'fastify'
import { errors } from '../../plugins/lib/errors.ts'

/**
 * Makes JSON the only body that an app takes. Fastify's own parser decodes leniently: bytes that are no UTF-8 would be
 * stored as replacement characters, and nobody would know. It also takes plain text.
 */
export function takeOnlyJson(app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser('error', 'error')
  app.removeAllContentTypeParsers()
  app.addContentTypeParser<Buffer>('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    // Many clients name the type of every body, also of one that is not there. Whether there must be one says the schema.
    if (body.length === 0) done(null, null)
    else if (isUtf8(body)) parse(request, body.toString('utf8'), done)
    else done(errors.badRequest('The request body is not UTF-8'))
  })
}
