import { Type } from '@sinclair/typebox'
import { adapted, Headers, IdempotencyKey, NoQuery, Sent, Strict, Timestamp } from './common.ts'
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
  body: Strict(
    {
      scopes: Type.Optional(
        Type.Array(Scope, {
          minItems: 1,
          maxItems: 3,
          uniqueItems: true,
          description: 'What it may do. Absent: what the API token may.'
        })
      )
    },
    { title: 'MintAccessTokenRequest' }
  ),
  response: {
    201: Sent(
      {
        accessToken: Type.Optional(
          Type.String({
            description: 'The token. A reply repeated by Idempotency-Key is without it.',
            examples: ['eyJhbGciOiJFZERTQSJ9...']
          })
        ),
        tokenType: Type.Literal('Bearer', { description: 'How it is sent.' }),
        scopes: Type.Array(Scope, { description: 'What it may do.' }),
        expiresAt: adapted(Timestamp, { description: 'When it ends.' })
      },
      { title: 'AccessToken' }
    ),
    ...errorResponses
  }
}
