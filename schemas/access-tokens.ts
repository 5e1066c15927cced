import { Type } from '@sinclair/typebox'
import { Headers, IdempotencyKey, NoQuery, Sent, Strict, Timestamp } from './common.ts'
import { errorResponses } from './error.ts'
import { Scope } from './me.ts'

export const mintAccessToken = {
  operationId: 'mintAccessToken',
  summary: 'Get a short-lived access token for an API token',
  description:
    'It is signed with EdDSA; the keys are at /.well-known/jwks.json. It ends after 15 minutes at the latest.',
  tags: ['auth'],
  headers: Headers({ 'idempotency-key': IdempotencyKey }),
  querystring: NoQuery,
  body: Strict({
    scopes: Type.Optional(
      Type.Array(Scope, {
        minItems: 1,
        maxItems: 3,
        uniqueItems: true,
        description: 'What it may do. Absent: what the API token may.'
      })
    )
  }),
  response: {
    201: Sent({
      accessToken: Type.Optional(
        Type.String({ description: 'The token. A reply repeated by Idempotency-Key is without it.' })
      ),
      tokenType: Type.Literal('Bearer'),
      scopes: Type.Array(Scope),
      expiresAt: Timestamp
    }),
    ...errorResponses
  }
}
