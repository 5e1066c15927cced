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
  at: adapted(Timestamp, { description: 'When it was said.' }),
  message: Text('What users are to know.', 'Deployments do not start. Apps that run are not affected.')
})

export const Incident = Sent(
  {
    id: Uuid,
    title: Text('What users notice, in one line.', 'Deployments do not start'),
    severity: OneOf(SEVERITIES, { description: 'How grave it is.' }),
    components: Type.Array(Type.String({ examples: ['api'] }), {
      description: 'The names of the parts of the service concerned.'
    }),
    openedAt: adapted(Timestamp, { description: 'When it was opened.' }),
    closedAt: Nullable(adapted(Timestamp, { description: 'When it was closed; null while it goes on.' })),
    updates: Type.Array(Update, { description: 'What users were told, the latest first.' })
  },
  { title: 'Incident' }
)

/** Lines of text. Line feeds are the only allowed control characters; others could forge what is shown. */
const Message = Type.String({
  minLength: 1,
  maxLength: 2_000,
  pattern: '^(?=[\\s\\p{Cf}]*[^\\s\\p{Cf}])(?:[^\\p{Cc}\\p{Cs}\\p{Zl}\\p{Zp}\\p{Bidi_Control}]|\\n)*$',
  'x-form': 'text with something to see in it, of which only line feeds are control characters',
  description: 'What users are to know, in plain words.',
  examples: ['Deployments do not start. Apps that run are not affected. We write again at 14:35 UTC.']
})

const tags = ['operators']
const headers = Headers({ 'idempotency-key': IdempotencyKey })
const params = Strict({ id: adapted(Uuid, { description: 'The UUID of the incident.' }) })

export const listIncidents = {
  operationId: 'listIncidents',
  summary: 'List the incidents',
  description: 'The newest first. The status page shows the open ones, and those closed within 30 days.',
  tags,
  querystring: Strict({
    ...PageQuery,
    open: Type.Optional(Type.Boolean({ description: 'Only those that go on, or only those that are closed.' }))
  }),
  response: { 200: Page(Incident), ...errorResponses }
}

export const getIncident = {
  operationId: 'getIncident',
  summary: 'See an incident',
  tags,
  params,
  querystring: NoQuery,
  response: { 200: Incident, ...errorResponses }
}

export const openIncident = {
  operationId: 'openIncident',
  summary: 'Tell users of an incident',
  description:
    'On the status page at once. If an incident of this title is open, nothing changes, and that one is answered.',
  tags,
  headers,
  querystring: NoQuery,
  body: Strict(
    {
      title: adapted(Name, {
        description: 'What users notice, in one line.',
        examples: ['Deployments do not start']
      }),
      severity: OneOf(SEVERITIES, {
        description: 'critical: the parts concerned are out. high, medium: they are degraded. low: they work.'
      }),
      components: Type.Optional(
        Type.Array(adapted(Name, { maxLength: 50, description: 'The name of a part, as /status.json has it.' }), {
          maxItems: 10,
          uniqueItems: true,
          description: 'The parts of the service concerned.'
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
  summary: 'Tell users more of an incident',
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
  summary: 'Tell users that an incident is over',
  description: 'Closing it again changes nothing.',
  tags,
  headers,
  params,
  querystring: NoQuery,
  body: OptionalBody(Strict({ message: Type.Optional(Message) }, { title: 'CloseIncidentRequest' })),
  response: { 200: Incident, ...errorResponses }
}
