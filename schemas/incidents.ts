import { Type } from '@sinclair/typebox'
import {
  adapted,
  Headers,
  IdempotencyKey,
  Name,
  NoQuery,
  Nullable,
  OneOf,
  OptionalBody,
  Page,
  PageQuery,
  Sent,
  Strict,
  Text,
  Timestamp,
  Uuid
} from './common.ts'
import { errorResponses } from './error.ts'

const SEVERITIES = ['critical', 'high', 'medium', 'low'] as const

const Update = Sent({
  at: adapted(Timestamp, { description: 'When it was published.' }),
  message: Text('The message to users.', 'Deployments do not start. Apps that run are not affected.')
})

export const Incident = Sent(
  {
    id: Uuid,
    title: Text('The effect on users, in one line.', 'Deployments do not start'),
    severity: OneOf(SEVERITIES, { description: 'The severity.' }),
    components: Type.Array(Type.String({ examples: ['api'] }), {
      description: 'The names of the affected components.'
    }),
    openedAt: adapted(Timestamp, { description: 'When it was opened.' }),
    closedAt: Nullable(adapted(Timestamp, { description: 'When it was closed; null while it is open.' })),
    updates: Type.Array(Update, { description: 'The updates to users, latest first.' })
  },
  { title: 'Incident' }
)

/** Lines of text. Line feeds are the only allowed control characters; others could forge what is shown. */
const Message = Type.String({
  minLength: 1,
  maxLength: 2_000,
  pattern: '^(?=[\\s\\p{Cf}]*[^\\s\\p{Cf}])(?:[^\\p{Cc}\\p{Cs}\\p{Zl}\\p{Zp}\\p{Bidi_Control}]|\\n)*$',
  'x-form': 'text that is not blank, without control characters other than line feeds',
  description: 'The message to users, in plain words.',
  examples: ['Deployments do not start. Apps that run are not affected. We write again at 14:35 UTC.']
})

const tags = ['operators']
const headers = Headers({ 'idempotency-key': IdempotencyKey })
const params = Strict({ id: adapted(Uuid, { description: 'The UUID of the incident.' }) })

export const listIncidents = {
  operationId: 'listIncidents',
  summary: 'List the incidents',
  description: 'Newest first. The status page shows open incidents and those closed within the last 30 days.',
  tags,
  querystring: Strict({
    ...PageQuery,
    open: Type.Optional(Type.Boolean({ description: 'Only open or only closed ones.' }))
  }),
  response: { 200: Page(Incident), ...errorResponses }
}

export const getIncident = {
  operationId: 'getIncident',
  summary: 'Get an incident',
  tags,
  params,
  querystring: NoQuery,
  response: { 200: Incident, ...errorResponses }
}

export const openIncident = {
  operationId: 'openIncident',
  summary: 'Open an incident',
  description:
    'Publishes it on the status page immediately. If an incident with this title is open, nothing changes, and that one is returned.',
  tags,
  headers,
  querystring: NoQuery,
  body: Strict(
    {
      title: adapted(Name, {
        description: 'The effect on users, in one line.',
        examples: ['Deployments do not start']
      }),
      severity: OneOf(SEVERITIES, {
        description: 'critical: the components are down. high, medium: degraded. low: they work.'
      }),
      components: Type.Optional(
        Type.Array(adapted(Name, { maxLength: 50, description: 'The name of a component, as in /status.json.' }), {
          maxItems: 10,
          uniqueItems: true,
          description: 'The affected components.'
        })
      ),
      message: Type.Optional(Message)
    },
    { title: 'OpenIncidentRequest' }
  ),
  response: { 200: Incident, 201: Incident, ...errorResponses }
}

export const updateIncident = {
  operationId: 'updateIncident',
  summary: 'Publish an update to an incident',
  description: 'Repeating the latest update changes nothing.',
  tags,
  headers,
  params,
  querystring: NoQuery,
  body: Strict({ message: Message }, { title: 'UpdateIncidentRequest' }),
  response: { 200: Incident, ...errorResponses }
}

export const closeIncident = {
  operationId: 'closeIncident',
  summary: 'Close an incident',
  description: 'Closing it again changes nothing.',
  tags,
  headers,
  params,
  querystring: NoQuery,
  body: OptionalBody(Strict({ message: Type.Optional(Message) }, { title: 'CloseIncidentRequest' })),
  response: { 200: Incident, ...errorResponses }
}
