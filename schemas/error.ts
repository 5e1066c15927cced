import { type Static, Type } from '@sinclair/typebox'

/** The body of every reply with a status of 400 or above. Clients branch on `code`; the texts are for people. */
export const ErrorEnvelope = Type.Object(
  {
    error: Type.Object({
      code: Type.String({ description: 'The error code, from a fixed list.', examples: ['VALIDATION_ERROR'] }),
      message: Type.String({ description: 'The code in words.', examples: ['Validation error'] }),
      detail: Type.Optional(
        Type.String({ description: 'The field, limit or resource concerned.', examples: ['name: must be string'] })
      ),
      requestId: Type.String({ description: 'The id of the request in the logs; equals X-Request-Id.' })
    })
  },
  { description: 'The request failed.' }
)
export type ErrorEnvelope = Static<typeof ErrorEnvelope>

/** Spread into the `response` of every route: `response: { 200: App, ...errorResponses }`. */
export const errorResponses = { '4xx': ErrorEnvelope, '5xx': ErrorEnvelope } as const
