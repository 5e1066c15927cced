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

const AuditType = OneOf(['auth', 'team', 'app', 'deployment', 'billing', 'admin'], {
  description: 'The type of the event.'
})
const AuditOutcome = OneOf(['success', 'failure', 'denied'], { description: 'The outcome.' })

export const AuditEntry = Sent(
  {
    id: Uuid,
    type: AuditType,
    action: Text('The action.', 'create'),
    outcome: AuditOutcome,
    userId: Nullable(adapted(Uuid, { description: 'The user who did it.' })),
    actor: Nullable(Text("The actor's name at the time.", 'ada')),
    teamId: Nullable(adapted(Uuid, { description: 'The team concerned.' })),
    appId: Nullable(adapted(Uuid, { description: 'The app concerned.' })),
    resource: Text('The kind of the resource.', 'app'),
    resourceId: Nullable(Text('The id or name of the resource.', 'hello')),
    resourceName: Nullable(Text('The name of the resource at the time.', 'hello')),
    details: Type.Unsafe<Record<string, unknown> | null>({
      type: ['object', 'null'],
      additionalProperties: true,
      description: 'Further details.'
    }),
    ip: Nullable(Text('The address of the client.', '192.0.2.1')),
    userAgent: Nullable(Text('The user agent of the client.', 'Mozilla/5.0')),
    requestId: Nullable(Text('The id of the request.', '0197a4b2-5d1c-7c3e')),
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
  action: described(Word, 'The action: create, update, delete, invite and so on.'),
  outcome: Type.Optional(AuditOutcome),
  userId: described(Uuid, 'The user who did it.'),
  actor: described(Name, "The actor's name at the time, exactly."),
  appId: described(Uuid, 'The app concerned.'),
  resource: described(Word, 'The kind of the resource.'),
  resourceId: described(Name, 'The id of the resource.'),
  ip: described(
    Type.String({
      minLength: 2,
      maxLength: 50,
      pattern: '^[0-9A-Fa-f:.]+$',
      'x-form': 'an IP address',
      examples: ['192.0.2.1']
    }),
    'The address of the client.'
  ),
  text: described(
    Type.String({
      minLength: 1,
      maxLength: 200,
      pattern: '^[^\\p{Cc}\\p{Cs}]*$',
      'x-form': 'one line of text',
      examples: ['hello']
    }),
    'Words or word prefixes; all must occur in the names and details of a row.'
  ),
  since: described(Instant, 'Only from this time on.'),
  until: described(Instant, 'Only before this time.')
}

export const listAudit = {
  operationId: 'listAudit',
  summary: 'Read the audit log',
  tags: ['operators'],
  querystring: Strict({ ...PageQuery, done: Done, ...filters, teamId: described(Uuid, 'The team concerned.') }),
  response: { 200: Page(AuditEntry), ...errorResponses }
}

export const exportAudit = {
  operationId: 'exportAudit',
  summary: 'Export the audit log',
  description: 'Oldest first, one row per line. A reply that does not end with a line feed is incomplete.',
  tags: ['operators'],
  querystring: Strict({
    ...filters,
    teamId: described(Uuid, 'The team concerned.'),
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
