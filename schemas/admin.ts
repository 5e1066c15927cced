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
      { description: 'How many there are.' }
    ),
    activeBuilds: Type.Integer({ description: 'Deployments under way.' }),
    recentErrors: Type.Array(
      Sent({
        code: Text('The code of the error.', 'INTERNAL_ERROR'),
        count: Type.Integer({ description: 'How many there were.' }),
        last: adapted(Timestamp, { description: 'When the latest one was.' })
      }),
      {
        description: 'Server errors of the last 24 hours by code, the latest first.'
      }
    ),
    topApps: Type.Array(
      Sent({
        appId: adapted(Uuid, { description: 'The app that it belongs to.' }),
        appName: Text('What the app is called.', 'hello'),
        teamName: Text('What the team is called.', 'Acme'),
        machineHours: Nullable(
          Type.Number({
            description: 'In the current billing period; null when nothing was metered, so that it is unknown.'
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
  summary: 'See the platform at a glance',
  tags: ['operators'],
  querystring: NoQuery,
  response: { 200: Stats, ...errorResponses }
}

export const User = Sent(
  {
    id: Uuid,
    username: Text("The user's name.", 'ada'),
    email: Nullable(Text('An e-mail address.', 'ada@example.com')),
    isOperator: Type.Boolean({ description: 'Whether this is an operator of the whole platform.' }),
    eraseAfter: Nullable(
      adapted(Timestamp, { description: 'When the account is erased, if its owner has asked for it.' })
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
  description: 'In effect on every instance within seconds. The last operator stays one.',
  tags: ['operators'],
  headers: Headers({ 'idempotency-key': IdempotencyKey }),
  params: Strict({ user: adapted(Uuid, { description: 'The UUID of the user.' }) }),
  querystring: NoQuery,
  body: Strict(
    { isOperator: Type.Boolean({ description: 'Whether this is an operator of the whole platform.' }) },
    { title: 'UpdateUserRequest' }
  ),
  response: { 200: User, ...errorResponses }
}

export const ListedTeam = Sent(
  {
    id: Uuid,
    name: Text('What people call it.', 'hello'),
    slug: Text('What it is called in URLs.', 'hello'),
    plan: Text('What the team may use.', 'pro'),
    members: Type.Integer({ description: 'How many people are in it.' }),
    version: Type.Integer({ description: 'Counts the changes of the team.' }),
    createdAt: CreatedAt
  },
  { title: 'ListedTeam' }
)

export const updateTeamPlan = {
  operationId: 'updateTeamPlan',
  summary: "Change a team's plan",
  description:
    'Members beyond the limit of the new plan stay, and nobody is added until there is a free place. The plan of a team with a subscription cannot be changed here (409).',
  tags: ['operators'],
  headers: Headers({ 'idempotency-key': IdempotencyKey }),
  params: Strict({ team: IdOrSlug }),
  querystring: NoQuery,
  body: Strict(
    { plan: OneOf(['free', 'starter', 'pro'], { description: 'The plan to put the team on.' }) },
    { title: 'UpdateTeamPlanRequest' }
  ),
  response: { 200: ListedTeam, ...errorResponses }
}

const Instant = Type.String({ format: 'date-time', maxLength: 40 })

export const ErrorCount = Sent(
  {
    hour: adapted(Timestamp, { description: 'The beginning of the hour that they are counted in.' }),
    code: Text('The code of the error.', 'INTERNAL_ERROR'),
    route: Text('The method and the pattern of the route.', 'GET /api/v1/apps/:app'),
    count: Type.Integer({ description: 'How many there were, on all instances.' }),
    lastRequestId: Nullable(Text('The latest request that met it, by its id in the logs.', '0197a4b2-5d1c-7c3e')),
    lastAt: adapted(Timestamp, { description: 'When that was.' })
  },
  { title: 'ErrorCount' }
)

export const listErrors = {
  operationId: 'listErrors',
  summary: 'List the errors of the server',
  description: 'Counted by hour, code and route, the latest hour first. They are kept for 30 days.',
  tags: ['operators'],
  querystring: Strict({
    ...PageQuery,
    done: Done,
    code: Type.Optional(
      Type.String({
        maxLength: 50,
        pattern: '^[A-Z_]+$',
        'x-form': 'the code of an error',
        description: 'Only errors of this code.',
        examples: ['INTERNAL_ERROR']
      })
    ),
    route: Type.Optional(adapted(Name, { description: 'Only this route: its method and its pattern.' })),
    since: Type.Optional(adapted(Instant, { description: 'From the hour of this instant on.' })),
    until: Type.Optional(adapted(Instant, { description: 'Before this instant.' }))
  }),
  response: { 200: Page(ErrorCount), ...errorResponses }
}
