import { isUtf8 } from 'node:buffer'
import type { FastifyInstance } from 'fastify'
import { errors } from '../../plugins/lib/errors.ts'

const FORM_LIMIT = 16_384

/** Makes the routes of a scope accept HTML form submissions. */
export function takeForms(app: FastifyInstance): void {
  const options = { parseAs: 'buffer', bodyLimit: FORM_LIMIT } as const
  app.addContentTypeParser<Buffer>('application/x-www-form-urlencoded', options, (_request, body, done) => {
    if (isUtf8(body)) done(null, Object.fromEntries(new URLSearchParams(body.toString('utf8'))))
    else done(errors.badRequest('The request body is not UTF-8'))
  })
}
