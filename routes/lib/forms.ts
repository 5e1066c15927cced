import { isUtf8 } from 'node:buffer'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { AppError, errors } from '../../plugins/lib/errors.ts'
import { invalid } from '../../plugins/lib/violations.ts'
import { formTag } from '../../src/domain/base/revision.ts'
import type { Problem } from '../../views/parts.ts'
import type { Changed } from './change.ts'

/** Bytes: room for a pasted file of env vars. */
const FORM_LIMIT = 262_144

/**
 * Makes the routes of a scope accept HTML form submissions. A field that is sent several times becomes a list, and one
 * that was left empty is absent. The hidden fields `_key` and `_rev` act as the headers Idempotency-Key and If-Match.
 */
export function takeForms(app: FastifyInstance): void {
  const options = { parseAs: 'buffer', bodyLimit: FORM_LIMIT } as const
  app.addContentTypeParser<Buffer>('application/x-www-form-urlencoded', options, (request, body, done) => {
    if (!isUtf8(body)) return done(errors.badRequest('The request body is not UTF-8'))
    const fields = fieldsOf(body.toString('utf8'))
    if (typeof fields._key === 'string') request.headers['idempotency-key'] = fields._key
    if (typeof fields._rev === 'string') request.headers['if-match'] = formTag(fields._rev)
    done(null, fields)
  })
}

function fieldsOf(body: string): Record<string, string | string[]> {
  const fields: Record<string, string | string[]> = Object.create(null)
  for (const [name, value] of new URLSearchParams(body)) {
    if (value === '') continue
    const before = fields[name]
    fields[name] = before === undefined ? value : [before, value].flat()
  }
  return fields
}

/** How to handle a form submission. */
export interface Submission {
  /** Makes the change, and redirects. */
  readonly run: () => Promise<FastifyReply>
  /** Sends the page with the form again, filled in as submitted, with the problem. */
  readonly again: (problem: Problem) => Promise<FastifyReply> | FastifyReply
}

/**
 * Handles a form whose route has `attachValidation`: refused values are shown in the form, with the status of the
 * refusal, or 422 if they are invalid. Our own failures, and refusals of the user rather than of the values, get a page
 * of their own.
 */
export async function submit(
  request: FastifyRequest,
  reply: FastifyReply,
  { run, again }: Submission
): Promise<FastifyReply> {
  try {
    if (request.validationError !== undefined) throw invalid(request.validationError)
    return await run()
  } catch (error) {
    if (!(error instanceof AppError) || error.statusCode >= 500 || IS_ABOUT_CALLER.has(error.statusCode)) throw error
    reply.code(error.code === 'VALIDATION_ERROR' ? 422 : error.statusCode).headers(error.headers ?? {})
    return again(problemOf(error))
  }
}

const IS_ABOUT_CALLER: ReadonlySet<number> = new Set([401, 403, 404])

/** A refusal as a form problem. */
export function problemOf({ code, message, detail, violations = [] }: AppError): Problem {
  if (code !== 'VALIDATION_ERROR') return { message: [message, detail].filter(Boolean).join(': '), fields: {} }
  const named = violations.map(({ pointer, detail: fault }) => [pointer.slice('#/'.length), fault] as const)
  const [, field, fault] = /^([a-z]\w*): ([\s\S]*)$/i.exec(detail ?? '') ?? []
  if (named.length === 0 && field !== undefined) named.push([field, fault!])
  if (named.length === 0) return { message: detail ?? message, fields: {} }
  return {
    message: named.length === 1 ? 'One field needs a correction' : `${named.length} fields need a correction`,
    fields: Object.fromEntries(named.map(([name, words]) => [name, capitalized(words)]))
  }
}

const capitalized = (text: string) => text.charAt(0).toUpperCase() + text.slice(1)

/** The same change, followed by a redirect to a page. It happens once, however often the form is sent. */
export function leadingTo(location: string, { audit, committed }: Changed): Changed {
  return { status: 303, headers: { location }, audit, ...(committed && { committed }) }
}
