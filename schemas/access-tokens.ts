import { Type } from '@sinclair/typebox'
import { adapted, Headers, IdempotencyKey, NoQuery, Sent, Strict, Timestamp } from './common.ts'
import { errorResponses } from './error.ts'
import { Scope } from './me.ts'

export const mintAccessToken = {
  operationId: 'mintAccessToken',
  summary: 'Get a short-lived access token for an API token',
  description: 'It is signed with EdDSA; the keys are at /.well-known/jwks.json. It expires after 15 minutes at most.',
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
          description: 'Its scope. Absent: the scope of the API token.'
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
            description: 'The token. A reply repeated by Idempotency-Key omits it.',
            examples: ['eyJhbGciOiJFZERTQSJ9...']
          })
        ),
        tokenType: Type.Literal('Bearer', { description: 'The authentication scheme.' }),
        scopes: Type.Array(Scope, { description: 'Its scope.' }),
        expiresAt: adapted(Timestamp, { description: 'When it expires.' })
      },
      { title: 'AccessToken' }
    ),
    ...errorResponses
  }
}
