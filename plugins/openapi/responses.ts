import { ERROR_CODES, type ErrorCode, statusOf, titleOf } from '../lib/errors.ts'
import { STATUS_CODES } from '../lib/http.ts'
import type { OpenApiDocument, Operation, Response, Schema } from './document.ts'
import { FAILURES } from './operation.ts'

const REQUEST = '0197a4b2-5d1c-7c3e'
const CODE: Schema = { type: 'string', enum: ERROR_CODES, description: 'The error code, from a fixed list.' }
const REQUEST_ID: Schema = {
  type: 'string',
  description: 'The id of the request in the logs; equals X-Request-Id.',
  examples: [REQUEST]
}
const DETAIL: Schema = {
  type: 'string',
  description: 'The field, limit or resource concerned.',
  examples: ['name: must be a string, such as hello']
}

const ERROR: Schema = {
  type: 'object',
  title: 'Error',
  description: 'The body of every error.',
  required: ['error'],
  properties: {
    error: {
      type: 'object',
      description: 'The error.',
      required: ['code', 'message', 'requestId'],
      properties: {
        code: CODE,
        message: { type: 'string', description: 'The code in words.', examples: ['Validation error'] },
        detail: DETAIL,
        requestId: REQUEST_ID
      }
    }
  }
}

const PROBLEM: Schema = {
  type: 'object',
  title: 'Problem',
  description: 'The same error in the format of RFC 9457, for clients that accept it.',
  required: ['type', 'title', 'status', 'instance', 'code', 'requestId'],
  properties: {
    type: { type: 'string', format: 'uri-reference', description: 'The URL of the code in the API reference.' },
    title: { type: 'string', description: 'The code in words.', examples: ['Validation error'] },
    status: { type: 'integer', description: 'The HTTP status.', examples: [400] },
    detail: DETAIL,
    instance: { type: 'string', format: 'uri-reference', description: 'The id of the request.', examples: [REQUEST] },
    code: CODE,
    requestId: REQUEST_ID,
    errors: {
      type: 'array',
      description: 'The invalid values.',
      items: {
        type: 'object',
        description: 'An invalid value.',
        required: ['in', 'pointer', 'detail'],
        properties: {
          in: {
            type: 'string',
            enum: ['body', 'querystring', 'params', 'headers'],
            description: 'The location of the value.'
          },
          pointer: { type: 'string', description: 'JSON pointer to the value.', examples: ['#/name'] },
          detail: { type: 'string', description: 'What is wrong.', examples: ['must be a string, such as hello'] }
        }
      }
    }
  }
}

/** The generator's description for a response whose schema has none. */
const UNDESCRIBED = 'Default Response'

/** Statuses that carry `Retry-After`. */
const PATIENT: ReadonlySet<number> = new Set([429, 503])

/** All operations share the same two error shapes, so each status is defined once, overriding the routes' own. */
export function describeResponses(document: OpenApiDocument): void {
  const { components, paths } = document
  components.schemas = { ...components.schemas, Error: ERROR, Problem: PROBLEM }
  components.responses = {}
  for (const operation of Object.values(paths).flatMap(path => Object.values(path))) {
    describeSuccess(operation)
    for (const status of operation[FAILURES] ?? []) {
      const name = nameOf(status)
      components.responses[name] ??= failure(status)
      operation.responses[status] = { $ref: `#/components/responses/${name}` }
    }
    delete operation[FAILURES]
  }
}

function describeSuccess({ responses }: Operation): void {
  for (const [status, response] of Object.entries(responses)) {
    if (/^[45]/.test(status)) delete responses[status]
    else if ('description' in response && response.description === UNDESCRIBED)
      response.description = STATUS_CODES[status] ?? status
  }
}

/** `Not Found` becomes `NotFound`. */
const nameOf = (status: number): string => (STATUS_CODES[status] ?? `Status${status}`).replaceAll(/[^A-Za-z]/g, '')

function failure(status: number): Response {
  const codes = ERROR_CODES.filter(code => statusOf(code) === status)
  const [code] = codes as [ErrorCode]
  return {
    description: codes.map(code => `\`${code}\`: ${titleOf(code)}.`).join(' '),
    ...(PATIENT.has(status) && {
      headers: { 'Retry-After': { description: 'Seconds until a retry can succeed.', schema: { type: 'integer' } } }
    }),
    content: {
      'application/json': {
        schema: { $ref: '#/components/schemas/Error' },
        example: { error: { code, message: titleOf(code), requestId: REQUEST } }
      },
      'application/problem+json': {
        schema: { $ref: '#/components/schemas/Problem' },
        example: { type: `/docs#${code}`, title: titleOf(code), status, instance: REQUEST, code, requestId: REQUEST }
      }
    }
  }
}
