import { type Static, Type } from '@sinclair/typebox'
import {
  adapted,
  CreatedAt,
  Headers,
  IdempotencyKey,
  IdOrSlug,
  Name,
  NoContent,
  NoQuery,
  Nullable,
  OneOf,
  Page,
  PageQuery,
  Sent,
  Strict,
  Text,
  Timestamp,
  Uuid
} from './common.ts'
import { errorResponses } from './error.ts'

export const Scope = OneOf(['read', 'deploy', 'admin'])

export const Me = Sent(
  {
    id: Uuid,
    username: Text("The user's name.", 'ada'),
    email: Nullable(Text('An e-mail address.', 'ada@example.com')),
    avatarUrl: Nullable(Text('Where their picture is.', 'https://avatars.githubusercontent.com/u/1')),
    isOperator: Type.Boolean({ description: 'Whether this is an operator of the whole platform.' }),
    createdAt: CreatedAt
  },
  { title: 'Me' }
)

export const getMe = {
  operationId: 'getMe',
  summary: 'Get your account',
  tags: ['me'],
  querystring: NoQuery,
  response: { 200: Me, ...errorResponses }
}

const token = {
  id: Uuid,
  name: Text('What people call it.', 'hello'),
  prefix: Text('How the token starts, to recognise it by.', 'rhone_4f7a'),
  scopes: Type.Array(Scope, { description: 'What it may do.' }),
  teamId: Nullable(adapted(Uuid, { description: 'The only team that it reaches; null: all of yours.' })),
  expiresAt: Nullable(adapted(Timestamp, { description: 'When it ends.' })),
  lastUsedAt: Nullable(adapted(Timestamp, { description: 'When it was last used.' })),
  lastUsedFrom: Nullable(Text('The address of the last use.', '192.0.2.1')),
  createdAt: CreatedAt
}

export const Token = Sent(token, { title: 'Token' })

export const CreatedToken = Sent(
  {
    ...token,
    token: Type.Optional(
      Type.String({
        description: 'The token itself. Shown this once: a reply repeated by Idempotency-Key is without it.',
        examples: ['rhone_4f7a...']
      })
    )
  },
  { title: 'CreatedToken' }
)

export const listTokens = {
  operationId: 'listTokens',
  summary: 'List your API tokens',
  tags: ['me'],
  querystring: Strict(PageQuery),
  response: { 200: Page(Token), ...errorResponses }
}

export const NewToken = Strict(
  {
    name: Name,
    scopes: Type.Array(Scope, {
      minItems: 1,
      maxItems: 3,
      uniqueItems: true,
      description: "What it may do; at most what the caller's own token may."
    }),
    team: Type.Optional(adapted(IdOrSlug, { description: 'The only team that it reaches. Absent: all of yours.' })),
    expiresAt: Type.Optional(Type.String({ format: 'date-time', maxLength: 64, description: 'Absent: never.' }))
  },
  { title: 'NewToken' }
)
export type NewToken = Static<typeof NewToken>

export const createToken = {
  operationId: 'createToken',
  summary: 'Create an API token',
  tags: ['me'],
  headers: Headers({ 'idempotency-key': IdempotencyKey }),
  querystring: NoQuery,
  body: NewToken,
  response: { 201: CreatedToken, ...errorResponses }
}

export const revokeToken = {
  operationId: 'revokeToken',
  summary: 'Revoke an API token',
  tags: ['me'],
  headers: Headers({ 'idempotency-key': IdempotencyKey }),
  params: Strict({ id: Uuid }),
  querystring: NoQuery,
  response: { 204: NoContent, ...errorResponses }
}

export const Session = Sent(
  {
    id: Uuid,
    current: Type.Boolean({ description: 'Whether it is the one that asks.' }),
    method: OneOf(['github', 'password', 'link'], { description: 'How it began.' }),
    ip: Nullable(Text('The address that it began from.', '192.0.2.1')),
    userAgent: Nullable(Text('What the browser calls itself.', 'Mozilla/5.0')),
    lastSeenAt: adapted(Timestamp, { description: 'When it was last used.' }),
    expiresAt: adapted(Timestamp, { description: 'When it ends.' }),
    createdAt: CreatedAt
  },
  { title: 'Session' }
)

export const listSessions = {
  operationId: 'listSessions',
  summary: 'List where you are signed in',
  tags: ['me'],
  querystring: Strict(PageQuery),
  response: { 200: Page(Session), ...errorResponses }
}

export const revokeSession = {
  operationId: 'revokeSession',
  summary: 'Sign out somewhere',
  tags: ['me'],
  headers: Headers({ 'idempotency-key': IdempotencyKey }),
  params: Strict({ id: Uuid }),
  querystring: NoQuery,
  response: { 204: NoContent, ...errorResponses }
}

export const revokeSessions = {
  operationId: 'revokeSessions',
  summary: 'Sign out everywhere',
  tags: ['me'],
  headers: Headers({ 'idempotency-key': IdempotencyKey }),
  querystring: Strict({
    keepCurrent: Type.Optional(
      Type.Boolean({ default: false, description: 'Everywhere but in the session that asks.' })
    )
  }),
  response: {
    200: Sent(
      { revoked: Type.Integer({ description: 'How many sessions have ended.' }) },
      { title: 'RevokedSessions' }
    ),
    ...errorResponses
  }
}

export const deleteMe = {
  operationId: 'deleteMe',
  summary: 'Delete your account',
  description:
    'Your tokens end at once, and after 14 days everything that tells of you is erased. Until then the code in the reply brings the account back. While you are the only owner of a team that has other members, apps or a subscription, nothing is done (409): the detail names these teams. Teams that only you are in go with the account.',
  tags: ['me'],
  headers: Headers({ 'idempotency-key': IdempotencyKey }),
  querystring: NoQuery,
  response: {
    202: Sent(
      {
        eraseAfter: adapted(Timestamp, { description: 'When the account is erased.' }),
        code: Type.Optional(
          Type.String({
            description: 'What POST /api/v1/me/restore takes. Shown this once, and kept nowhere.',
            examples: ['hMGXk1XDfTY4Nn2Lcz2uTkQ6h2F5m3v9k0qJ8sWbR7c']
          })
        )
      },
      { title: 'DeletedAccount' }
    ),
    ...errorResponses
  }
}

export const restoreMe = {
  operationId: 'restoreMe',
  summary: 'Have a deleted account back',
  description: 'For as long as it has not been erased. Its tokens stay revoked: sign in again.',
  tags: ['me'],
  querystring: NoQuery,
  body: Strict(
    {
      code: Type.String({
        pattern: '^[A-Za-z0-9_-]{43}$',
        'x-form': 'the code of the reply to DELETE /api/v1/me: 43 characters',
        description: 'The code of the reply to DELETE /api/v1/me.',
        examples: ['hMGXk1XDfTY4Nn2Lcz2uTkQ6h2F5m3v9k0qJ8sWbR7c']
      })
    },
    { title: 'RestoreMeRequest' }
  ),
  response: {
    200: Sent({ id: Uuid, username: Text("The user's name.", 'ada') }, { title: 'RestoredAccount' }),
    ...errorResponses
  }
}

export const exportMe = {
  operationId: 'exportMe',
  summary: 'Get everything that is held about you',
  description: 'One JSON object: account, teams, tokens, invitations, deployments, and the audit log of what you did.',
  tags: ['me'],
  querystring: NoQuery,
  response: { 200: Type.Unsafe<unknown>({ type: 'object', additionalProperties: true }), ...errorResponses }
}
