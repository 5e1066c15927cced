import { Type } from '@sinclair/typebox'
import {
  adapted,
  Headers,
  IdempotencyKey,
  IdOrSlug,
  Name,
  NoQuery,
  Nullable,
  OneOf,
  Page,
  PageQuery,
  Sent,
  Strict,
  Timestamp,
  Uuid
} from './common.ts'
import { errorResponses } from './error.ts'

export const Stats = Sent({
  totals: Sent({
    users: Type.Integer(),
    teams: Type.Integer(),
    apps: Type.Integer(),
    deployments: Type.Integer()
  }),
  activeBuilds: Type.Integer({ description: 'Deployments under way.' }),
  recentErrors: Type.Array(Sent({ code: Type.String(), count: Type.Integer(), last: Timestamp }), {
    description: 'Server errors of the last 24 hours by code, the latest first.'
  }),
  topApps: Type.Array(
    Sent({
      appId: Uuid,
      appName: Type.String(),
      teamName: Type.String(),
      machineHours: Type.Number({ description: 'In the current billing period.' }),
      deployments: Type.Integer()
    }),
    { description: 'The ten apps with the most machine hours.' }
  ),
  billingPeriod: Type.String({ format: 'date', description: 'The first day of the current UTC month.' }),
  generatedAt: Timestamp
})

export const getStats = {
  operationId: 'getStats',
  summary: 'See the platform at a glance',
  tags: ['operators'],
  querystring: NoQuery,
  response: { 200: Stats, ...errorResponses }
}

export const User = Sent({
  id: Uuid,
  username: Type.String(),
  email: Nullable(Type.String()),
  isOperator: Type.Boolean(),
  eraseAfter: Nullable(
    adapted(Timestamp, { description: 'When the account is erased, if its owner has asked for it.' })
  ),
  createdAt: Timestamp
})

export const listUsers = {
  operationId: 'listUsers',
  summary: 'List the users of the platform',
  tags: ['operators'],
  querystring: Strict({
    ...PageQuery,
    username: Type.Optional(Name),
    email: Type.Optional(Name),
    operator: Type.Optional(Type.Boolean({ description: 'Only operators, or only others.' }))
  }),
  response: { 200: Page(User), ...errorResponses }
}

export const updateUser = {
  operationId: 'updateUser',
  summary: 'Make a user an operator, or an ordinary user again',
  description: 'In effect on every instance within seconds. The last operator stays one.',
  tags: ['operators'],
  headers: Headers({ 'idempotency-key': IdempotencyKey }),
  params: Strict({ user: Uuid }),
  querystring: NoQuery,
  body: Strict({ isOperator: Type.Boolean() }),
  response: { 200: User, ...errorResponses }
}

export const ListedTeam = Sent({
  id: Uuid,
  name: Type.String(),
  slug: Type.String(),
  plan: Type.String({ examples: ['pro'] }),
  members: Type.Integer(),
  version: Type.Integer({ description: 'Counts the changes of the team.' }),
  createdAt: Timestamp
})

export const updateTeamPlan = {
  operationId: 'updateTeamPlan',
  summary: "Change a team's plan",
  description:
    "On a smaller plan, members beyond its places stay, and nobody is added until there is a place. The plan of a team with a subscription is the subscription's (409).",
  tags: ['operators'],
  headers: Headers({ 'idempotency-key': IdempotencyKey }),
  params: Strict({ team: IdOrSlug }),
  querystring: NoQuery,
  body: Strict({ plan: OneOf(['free', 'starter', 'pro'], { description: 'The plan to put the team on.' }) }),
  response: { 200: ListedTeam, ...errorResponses }
}
