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
    avatarUrl: Nullable(Text('The URL of their picture.', 'https://avatars.githubusercontent.com/u/1')),
    isOperator: Type.Boolean({ description: 'Whether the user is an operator of the platform.' }),
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
  name: Text('The display name.', 'hello'),
  prefix: Text('The beginning of the token, to recognise it.', 'rhone_4f7a'),
  scopes: Type.Array(Scope, { description: 'Its scopes.' }),
  teamId: Nullable(adapted(Uuid, { description: 'The only team that it can access; null: all your teams.' })),
  expiresAt: Nullable(adapted(Timestamp, { description: 'When it expires.' })),
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
        description: 'The token itself. Shown once: a reply repeated by Idempotency-Key omits it.',
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
      description: "Its scopes, at most those of the caller's own token."
    }),
    team: Type.Optional(
      adapted(IdOrSlug, { description: 'The only team that it can access. Absent: all your teams.' })
    ),
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
    current: Type.Boolean({ description: 'Whether it is the session of this request.' }),
    method: OneOf(['github', 'password', 'link'], { description: 'The sign-in method.' }),
    ip: Nullable(Text('The address of the sign-in.', '192.0.2.1')),
    userAgent: Nullable(Text('The user agent of the browser.', 'Mozilla/5.0')),
    lastSeenAt: adapted(Timestamp, { description: 'When it was last used.' }),
    expiresAt: adapted(Timestamp, { description: 'When it expires.' }),
    createdAt: CreatedAt
  },
  { title: 'Session' }
)

export const listSessions = {
  operationId: 'listSessions',
  summary: 'List your sessions',
  tags: ['me'],
  querystring: Strict(PageQuery),
  response: { 200: Page(Session), ...errorResponses }
}

export const revokeSession = {
  operationId: 'revokeSession',
  summary: 'End a session',
  tags: ['me'],
  headers: Headers({ 'idempotency-key': IdempotencyKey }),
  params: Strict({ id: Uuid }),
  querystring: NoQuery,
  response: { 204: NoContent, ...errorResponses }
}

export const revokeSessions = {
  operationId: 'revokeSessions',
  summary: 'End all sessions',
  tags: ['me'],
  headers: Headers({ 'idempotency-key': IdempotencyKey }),
  querystring: Strict({
    keepCurrent: Type.Optional(Type.Boolean({ default: false, description: 'Keep the session of this request.' }))
  }),
  response: {
    200: Sent(
      { revoked: Type.Integer({ description: 'The number of ended sessions.' }) },
      { title: 'RevokedSessions' }
    ),
    ...errorResponses
  }
}

export const deleteMe = {
  operationId: 'deleteMe',
  summary: 'Delete your account',
  description:
    'Your tokens are revoked immediately, and all personal data is erased after 14 days. Until then the code in the reply restores the account. While you are the only owner of a team with other members, apps or a subscription, the request is refused (409), and the detail names these teams. Teams with no other members are deleted with the account.',
  tags: ['me'],
  headers: Headers({ 'idempotency-key': IdempotencyKey }),
  querystring: NoQuery,
  response: {
    202: Sent(
      {
        eraseAfter: adapted(Timestamp, { description: 'When the account will be erased.' }),
        code: Type.Optional(
          Type.String({
            description: 'The code for POST /api/v1/me/restore. Shown once and not stored.',
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
  summary: 'Restore a deleted account',
  description: 'Possible until it is erased. Its tokens stay revoked: sign in again.',
  tags: ['me'],
  querystring: NoQuery,
  body: Strict(
    {
      code: Type.String({
        pattern: '^[A-Za-z0-9_-]{43}$',
        'x-form': 'the code from the reply to DELETE /api/v1/me: 43 characters',
        description: 'The code from the reply to DELETE /api/v1/me.',
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
  summary: 'Export your personal data',
  description: 'One JSON object: account, teams, tokens, invitations, deployments, and the audit log of your actions.',
  tags: ['me'],
  querystring: NoQuery,
  response: { 200: Type.Unsafe<unknown>({ type: 'object', additionalProperties: true }), ...errorResponses }
}
