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
    status: OneOf(STATUSES, { description: 'The worst state that lasted a minute in all.' }),
    uptime: Uptime('The share of the observed time, maintenance left out, without an outage')
  },
  { title: 'StatusOfDay' }
)

const StatusOfComponent = Sent(
  {
    name: Text('What incidents name it by.', 'api'),
    title: Text('What it is called.', 'API and dashboard'),
    status: OneOf(STATUSES, { description: 'How it is.' }),
    note: Nullable(Text('What users notice.', 'Some requests are refused.')),
    uptime: Uptime('The same over all of these days'),
    days: Type.Array(StatusOfDay, { description: 'The last 30 days, oldest first.' })
  },
  { title: 'StatusOfComponent' }
)

export const Status = Sent(
  {
    status: OneOf(STATUSES, { description: 'How the service is as a whole.' }),
    summary: Text('The same in a sentence.', 'Everything works.'),
    checkedAt: Nullable(Instant('When this instance last looked; null before the first time.')),
    components: Type.Array(StatusOfComponent, { description: 'The parts of the service.' }),
    maintenance: Type.Union(
      [
        Sent({
          message: Nullable(Text('What operators say of it.', 'Back at six')),
          since: Nullable(Instant('When it began.')),
          until: Nullable(Instant('When it ends by itself.'))
        }),
        Type.Null()
      ],
      { description: 'The planned maintenance that is under way.' }
    ),
    incidents: Type.Array(Incident, {
      description: 'The open ones, then those closed within 30 days, the latest first.'
    })
  },
  { title: 'Status' }
)
export type Status = Static<typeof Status>

const tags = ['platform']

export const getStatus = {
  operationId: 'getStatus',
  summary: 'How the service is',
  description: 'Answered from memory, and always with 200: also while the database is down or the platform is closed.',
  tags,
  querystring: NoQuery,
  response: { 200: Status, ...errorResponses }
}

export const getStatusPage = {
  operationId: 'getStatusPage',
  summary: 'How the service is, as a page',
  tags: ['pages'],
  querystring: NoQuery,
  response: { 200: { description: 'A page.', content: { 'text/html': { schema: Type.String() } } }, ...errorResponses }
}
