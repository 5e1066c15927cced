import { Type } from '@sinclair/typebox'
import {
  adapted,
  CreatedAt,
  Done,
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
  Text,
  Timestamp,
  Uuid
} from './common.ts'
import { errorResponses } from './error.ts'

export const Stats = Sent(
  {
    totals: Sent(
      {
        users: Type.Integer({ description: 'All users.' }),
        teams: Type.Integer({ description: 'All teams.' }),
        apps: Type.Integer({ description: 'All apps.' }),
        deployments: Type.Integer({ description: 'All deployments.' })
      },
      { description: 'Total counts.' }
    ),
    activeBuilds: Type.Integer({ description: 'Running deployments.' }),
    recentErrors: Type.Array(
      Sent({
        code: Text('The code of the error.', 'INTERNAL_ERROR'),
        count: Type.Integer({ description: 'The number of errors.' }),
        last: adapted(Timestamp, { description: 'The time of the latest one.' })
      }),
      {
        description: 'Server errors of the last 24 hours by code, the latest first.'
      }
    ),
    topApps: Type.Array(
      Sent({
        appId: adapted(Uuid, { description: 'The id of the app.' }),
        appName: Text('The name of the app.', 'hello'),
        teamName: Text('The name of the team.', 'Acme'),
        machineHours: Nullable(
          Type.Number({
            description: 'In the current billing period; null if unknown, because nothing was metered.'
          })
        ),
        deployments: Type.Integer({ description: 'All deployments.' })
      }),
      {
        description:
          'The ten apps with the most machine hours; those of unknown use last, the most deployed of this period first.'
      }
    ),
    billingPeriod: Type.String({ format: 'date', description: 'The first day of the current UTC month.' }),
    generatedAt: adapted(Timestamp, { description: 'When this was counted.' })
  },
  { title: 'Stats' }
)

export const getStats = {
  operationId: 'getStats',
  summary: 'Get the figures of the platform',
  tags: ['operators'],
  querystring: NoQuery,
  response: { 200: Stats, ...errorResponses }
}

export const User = Sent(
  {
    id: Uuid,
    username: Text("The user's name.", 'ada'),
    email: Nullable(Text('An e-mail address.', 'ada@example.com')),
    isOperator: Type.Boolean({ description: 'Whether the user is an operator of the platform.' }),
    eraseAfter: Nullable(
      adapted(Timestamp, { description: 'When the account will be erased, if its owner has deleted it.' })
    ),
    createdAt: CreatedAt
  },
  { title: 'User' }
)

export const listUsers = {
  operationId: 'listUsers',
  summary: 'List the users of the platform',
  tags: ['operators'],
  querystring: Strict({
    ...PageQuery,
    done: Done,
    username: Type.Optional(Name),
    email: Type.Optional(Name),
    operator: Type.Optional(Type.Boolean({ description: 'Only operators, or only others.' }))
  }),
  response: { 200: Page(User), ...errorResponses }
}

export const updateUser = {
  operationId: 'updateUser',
  summary: 'Make a user an operator, or an ordinary user again',
  description: 'Takes effect on every instance within seconds. The last operator cannot be revoked.',
  tags: ['operators'],
  headers: Headers({ 'idempotency-key': IdempotencyKey }),
  params: Strict({ user: adapted(Uuid, { description: 'The UUID of the user.' }) }),
  querystring: NoQuery,
  body: Strict(
    { isOperator: Type.Boolean({ description: 'Whether the user is an operator of the platform.' }) },
    { title: 'UpdateUserRequest' }
  ),
  response: { 200: User, ...errorResponses }
}

export const ListedTeam = Sent(
  {
    id: Uuid,
    name: Text('The display name.', 'hello'),
    slug: Text('The name in URLs.', 'hello'),
    plan: Text('The plan of the team.', 'pro'),
    members: Type.Integer({ description: 'The number of members.' }),
    version: Type.Integer({ description: 'Version of the team, incremented by each change.' }),
    createdAt: CreatedAt
  },
  { title: 'ListedTeam' }
)

export const updateTeamPlan = {
  operationId: 'updateTeamPlan',
  summary: "Change a team's plan",
  description:
    'Members beyond the limit of the new plan stay, but nobody can be added until a place is free. The plan of a team with a subscription cannot be changed here (409).',
  tags: ['operators'],
  headers: Headers({ 'idempotency-key': IdempotencyKey }),
  params: Strict({ team: IdOrSlug }),
  querystring: NoQuery,
  body: Strict(
    { plan: OneOf(['free', 'starter', 'pro'], { description: 'The new plan.' }) },
    { title: 'UpdateTeamPlanRequest' }
  ),
  response: { 200: ListedTeam, ...errorResponses }
}

const Instant = Type.String({ format: 'date-time', maxLength: 40 })

export const ErrorCount = Sent(
  {
    hour: adapted(Timestamp, { description: 'The start of the hour.' }),
    code: Text('The code of the error.', 'INTERNAL_ERROR'),
    route: Text('The method and pattern of the route.', 'GET /api/v1/apps/:app'),
    count: Type.Integer({ description: 'The number of errors, on all instances.' }),
    lastRequestId: Nullable(Text('The request id of the latest error, as in the logs.', '0197a4b2-5d1c-7c3e')),
    lastAt: adapted(Timestamp, { description: 'When that request was made.' })
  },
  { title: 'ErrorCount' }
)

export const listErrors = {
  operationId: 'listErrors',
  summary: 'List the errors of the server',
  description: 'Counted by hour, code and route, latest hour first. Kept for 30 days.',
  tags: ['operators'],
  querystring: Strict({
    ...PageQuery,
    done: Done,
    code: Type.Optional(
      Type.String({
        maxLength: 50,
        pattern: '^[A-Z_]+$',
        'x-form': 'the code of an error',
        description: 'Only errors with this code.',
        examples: ['INTERNAL_ERROR']
      })
    ),
    route: Type.Optional(adapted(Name, { description: 'Only this route, by method and pattern.' })),
    since: Type.Optional(adapted(Instant, { description: 'Only from the hour of this time on.' })),
    until: Type.Optional(adapted(Instant, { description: 'Only before this time.' }))
  }),
  response: { 200: Page(ErrorCount), ...errorResponses }
}
