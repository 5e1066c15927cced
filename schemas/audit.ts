import { type TSchema, Type } from '@sinclair/typebox'
import {
  adapted,
  CreatedAt,
  Done,
  IdOrSlug,
  Name,
  Nullable,
  OneOf,
  Page,
  PageQuery,
  Sent,
  Strict,
  Text,
  Uuid
} from './common.ts'
import { errorResponses } from './error.ts'

const AuditType = OneOf(['auth', 'team', 'app', 'deployment', 'billing', 'admin'], { description: 'What it is about.' })
const AuditOutcome = OneOf(['success', 'failure', 'denied'], { description: 'What came of it.' })

export const AuditEntry = Sent(
  {
    id: Uuid,
    type: AuditType,
    action: Text('What was done.', 'create'),
    outcome: AuditOutcome,
    userId: Nullable(adapted(Uuid, { description: 'The user who has done it.' })),
    actor: Nullable(Text("The actor's name at the time.", 'ada')),
    teamId: Nullable(adapted(Uuid, { description: 'The team that it belongs to.' })),
    appId: Nullable(adapted(Uuid, { description: 'The app that it belongs to.' })),
    resource: Text('The kind of thing that it was done to.', 'app'),
    resourceId: Nullable(Text('The id or the name of the thing that it was done to.', 'hello')),
    resourceName: Nullable(Text('What that thing was called at the time.', 'hello')),
    details: Type.Unsafe<Record<string, unknown> | null>({
      type: ['object', 'null'],
      additionalProperties: true,
      description: 'What else is known of it.'
    }),
    ip: Nullable(Text('The address that it was done from.', '192.0.2.1')),
    userAgent: Nullable(Text('What the browser calls itself.', 'Mozilla/5.0')),
    requestId: Nullable(Text('The request that it was done by.', '0197a4b2-5d1c-7c3e')),
    createdAt: CreatedAt
  },
  { title: 'AuditEntry' }
)

const Word = Type.String({
  maxLength: 50,
  pattern: '^[a-z][a-z_]*$',
  'x-form': 'a word of lower-case letters and underscores',
  examples: ['create']
})
const Instant = Type.String({ format: 'date-time', maxLength: 40 })
const described = <Schema extends TSchema>(schema: Schema, description: string) =>
  Type.Optional(adapted(schema, { description }))

const filters = {
  type: Type.Optional(AuditType),
  action: described(Word, 'The verb: create, update, delete, invite and so on.'),
  outcome: Type.Optional(AuditOutcome),
  userId: described(Uuid, 'Who has done it.'),
  actor: described(Name, "The actor's name at the time, exactly."),
  appId: described(Uuid, 'The app that it was about.'),
  resource: described(Word, 'The kind of thing that it was done to.'),
  resourceId: described(Name, 'The thing that it was done to.'),
  ip: described(
    Type.String({
      minLength: 2,
      maxLength: 50,
      pattern: '^[0-9A-Fa-f:.]+$',
      'x-form': 'an IP address',
      examples: ['192.0.2.1']
    }),
    'The address that it was done from.'
  ),
  text: described(
    Type.String({
      minLength: 1,
      maxLength: 200,
      pattern: '^[^\\p{Cc}\\p{Cs}]*$',
      'x-form': 'one line of text',
      examples: ['hello']
    }),
    'Words, or how they begin, that all stand in the names and details of a row.'
  ),
  since: described(Instant, 'From this instant on.'),
  until: described(Instant, 'Before this instant.')
}

export const listAudit = {
  operationId: 'listAudit',
  summary: 'Read the audit log',
  tags: ['operators'],
  querystring: Strict({ ...PageQuery, done: Done, ...filters, teamId: described(Uuid, 'The team that it was about.') }),
  response: { 200: Page(AuditEntry), ...errorResponses }
}

export const exportAudit = {
  operationId: 'exportAudit',
  summary: 'Export the audit log',
  description: 'Oldest first, a row a line. A reply that does not end in a line feed was cut off.',
  tags: ['operators'],
  querystring: Strict({
    ...filters,
    teamId: described(Uuid, 'The team that it was about.'),
    format: Type.Optional(OneOf(['ndjson', 'csv'], { description: 'ndjson when absent.' }))
  }),
  response: { 200: Type.String(), ...errorResponses }
}

export const listTeamAudit = {
  operationId: 'listTeamAudit',
  summary: "Read a team's audit log",
  tags: ['teams'],
  params: Strict({ team: IdOrSlug }),
  querystring: Strict({ ...PageQuery, ...filters }),
  response: { 200: Page(AuditEntry), ...errorResponses }
}
