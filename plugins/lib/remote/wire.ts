import type { TSchema } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import type { RemoteError } from './error.ts'
import type { Exchange, Subject } from './exchange.ts'

type Fields = Readonly<Record<string, string>>

export interface Encoded {
  readonly type?: string
  readonly content: string | Uint8Array<ArrayBuffer> | undefined
}

/** Encodes forms, text and bytes as they are, anything else as JSON. */
export function encode(body: object | string | undefined): Encoded {
  if (body === undefined || typeof body === 'string') return { content: body }
  if (body instanceof URLSearchParams) return { type: 'application/x-www-form-urlencoded', content: body.toString() }
  if (body instanceof Uint8Array) return { type: 'application/octet-stream', content: new Uint8Array(body) }
  return { type: 'application/json', content: JSON.stringify(body) }
}

/**
 * The headers of a request; later groups override earlier ones.
 *
 * @throws Error that names a header with an invalid value, but omits the value, which may be a secret
 */
export function headersOf(subject: Subject, type: string | undefined, ...groups: (Fields | undefined)[]): Headers {
  const headers = new Headers({ 'user-agent': 'rhone', accept: 'application/json' })
  if (type !== undefined) headers.set('content-type', type)
  for (const [name, value] of groups.flatMap(group => Object.entries(group ?? {}))) {
    try {
      headers.set(name, value)
    } catch {
      throw new Error(`${subject.service}: ${subject.operation}: the header ${name} has an invalid value`)
    }
  }
  return headers
}

/** Parses a body as JSON, or else returns it as text; undefined if it is empty. */
export function parseBody(text: string): unknown {
  if (text === '') return undefined
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

/** Parses a body; parser errors are replaced, because they would quote it. */
export function read(exchange: Exchange, parse: (text: string) => unknown, text: string): unknown {
  try {
    return parse(text)
  } catch {
    throw exchange.failure('shape')
  }
}

/** Reports where an answer differs from its schema, without its content. */
export function otherForm(exchange: Exchange, schema: TSchema, body: unknown): RemoteError {
  const wrong = Value.Errors(schema, body).First()
  const where = wrong?.path === '' ? 'the answer' : wrong?.path
  return exchange.failure('shape', { detail: `unexpected reply format (${where}: ${wrong?.message.toLowerCase()})` })
}
