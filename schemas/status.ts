import { type Static, Type } from '@sinclair/typebox'
import { NoQuery, Nullable, OneOf, Sent, Text } from './common.ts'
import { errorResponses } from './error.ts'
import { Incident } from './incidents.ts'

const STATUSES = ['operational', 'maintenance', 'degraded', 'outage', 'unknown'] as const
const Instant = (description: string) => Type.String({ format: 'date-time', description })
const Uptime = (description: string) =>
  Nullable(Type.Number({ minimum: 0, maximum: 1, description: `${description}; null if nothing was observed.` }))

const StatusOfDay = Sent(
  {
    date: Type.String({ format: 'date', description: 'The UTC day.' }),
    status: OneOf(STATUSES, { description: 'The worst state that lasted at least a minute in total.' }),
    uptime: Uptime('The share of the observed time without an outage; maintenance is excluded')
  },
  { title: 'StatusOfDay' }
)

const StatusOfComponent = Sent(
  {
    name: Text('The id of the component.', 'api'),
    title: Text('The name.', 'API and dashboard'),
    status: OneOf(STATUSES, { description: 'The state.' }),
    note: Nullable(Text('The effect on users.', 'Some requests are refused.')),
    uptime: Uptime('The same share over all these days'),
    days: Type.Array(StatusOfDay, { description: 'The last 30 days, oldest first.' })
  },
  { title: 'StatusOfComponent' }
)

export const Status = Sent(
  {
    status: OneOf(STATUSES, { description: 'The overall state.' }),
    summary: Text('The overall state as a sentence.', 'All systems operational.'),
    checkedAt: Nullable(Instant('When this instance last checked; null before the first check.')),
    components: Type.Array(StatusOfComponent, { description: 'The components of the service.' }),
    maintenance: Type.Union(
      [
        Sent({
          message: Nullable(Text('The message of the operators.', 'Back at six')),
          since: Nullable(Instant('When it started.')),
          until: Nullable(Instant('When it ends automatically.'))
        }),
        Type.Null()
      ],
      { description: 'The current planned maintenance.' }
    ),
    incidents: Type.Array(Incident, {
      description: 'The open ones, then those closed within 30 days, latest first.'
    })
  },
  { title: 'Status' }
)
export type Status = Static<typeof Status>

const tags = ['platform']

export const getStatus = {
  operationId: 'getStatus',
  summary: 'Get the status of the service',
  description: 'Served from memory, always with 200, even while the database is down or the platform is closed.',
  tags,
  querystring: NoQuery,
  response: { 200: Status, ...errorResponses }
}

export const getStatusPage = {
  operationId: 'getStatusPage',
  summary: 'The status page',
  tags: ['pages'],
  querystring: NoQuery,
  response: { 200: { description: 'A page.', content: { 'text/html': { schema: Type.String() } } }, ...errorResponses }
}
