import { STATUS_CODES } from 'node:http'
import { ERROR_CODES } from '../lib/errors.ts'
import type { OpenApiDocument, Schema } from './document.ts'

const CODE: Schema = { type: 'string', enum: ERROR_CODES }
const REQUEST_ID: Schema = { type: 'string', description: 'Names the request in the logs; equals X-Request-Id.' }

const ERROR: Schema = {
  type: 'object',
  required: ['error'],
  properties: {
    error: {
      type: 'object',
      required: ['code', 'message', 'requestId'],
      properties: {
        code: CODE,
        message: { type: 'string' },
        detail: { type: 'string', description: 'Which field, limit or resource.' },
        requestId: REQUEST_ID
      }
    }
  }
}

const PROBLEM: Schema = {
  type: 'object',
  description: 'The same as RFC 9457, for clients that accept it.',
  required: ['type', 'title', 'status', 'instance', 'code', 'requestId'],
  properties: {
    type: { type: 'string', format: 'uri-reference' },
    title: { type: 'string' },
    status: { type: 'integer' },
    detail: { type: 'string' },
    instance: { type: 'string', format: 'uri-reference' },
    code: CODE,
    requestId: REQUEST_ID,
    errors: {
      type: 'array',
      description: 'The values that were refused.',
      items: {
        type: 'object',
        required: ['in', 'pointer', 'detail'],
        properties: {
          in: { type: 'string', enum: ['body', 'querystring', 'params', 'headers'] },
          pointer: { type: 'string', description: 'JSON pointer to the value.' },
          detail: { type: 'string' }
        }
      }
    }
  }
}

/** What the generator says of a response whose schema has no description. */
const UNDESCRIBED = 'Default Response'

/** Every operation fails in the same two shapes, so they are written down once, whatever the routes said. */
export function describeResponses(document: OpenApiDocument): OpenApiDocument {
  const { components, paths } = document
  components.schemas = { ...components.schemas, Error: ERROR, Problem: PROBLEM }
  components.responses = {
    Error: {
      description: 'The request failed.',
      content: {
        'application/json': { schema: { $ref: '#/components/schemas/Error' } },
        'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } }
      }
    }
  }
  for (const { responses } of Object.values(paths).flatMap(path => Object.values(path))) {
    for (const [status, response] of Object.entries(responses))
      if ('description' in response && response.description === UNDESCRIBED)
        response.description = STATUS_CODES[status] ?? status
    responses['4XX'] = { $ref: '#/components/responses/Error' }
    responses['5XX'] = { $ref: '#/components/responses/Error' }
  }
  return document
}
