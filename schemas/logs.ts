import { type TSchema, Type } from '@sinclair/typebox'
import {
  adapted,
  Cursor,
  Headers,
  IdOrSlug,
  NoQuery,
  Nullable,
  OneOf,
  Page,
  Sent,
  Strict,
  Text,
  Timestamp,
  Uuid
} from './common.ts'
import { errorResponses } from './error.ts'

const LogLevel = OneOf(['debug', 'info', 'warn', 'error'], { description: 'The level.' })
const Instant = Type.String({ format: 'date-time', maxLength: 40 })
const LinesLimit = Type.Integer({ minimum: 1, maximum: 1_000, default: 100, description: 'Maximum number of items.' })
const After = Type.Integer({
  minimum: 0,
  maximum: Number.MAX_SAFE_INTEGER,
  description: 'The `id` after which to start; a reconnecting client sends `Last-Event-ID` instead.'
})
const LastEventId = Type.String({
  maxLength: 100,
  description: 'The id of the last event that the client received.',
  examples: ['41']
})
const EventStream = Type.String({ description: 'Server-sent events.' })
const content = (types: Record<string, TSchema>) => ({
  content: Object.fromEntries(Object.entries(types).map(([type, schema]) => [type, { schema }]))
})
const described = <Schema extends TSchema>(schema: Schema, description: string) =>
  Type.Optional(adapted(schema, { description }))

const params = Strict({ app: IdOrSlug })
const headers = Headers({ 'last-event-id': Type.Optional(LastEventId) })

export const BuildLogChunk = Sent(
  {
    seq: Type.Integer({ description: 'Its position in the log.' }),
    phase: Type.String({ description: 'The status of the deployment at the time.', examples: ['building'] }),
    text: Text('Plain text of any number of lines, not always whole ones; secrets are masked.', 'added 3 packages\n'),
    at: adapted(Timestamp, { description: 'The time of the line.' })
  },
  { title: 'BuildLogChunk' }
)

export const getBuildLog = {
  operationId: 'getBuildLog',
  summary: 'Read the build log of a deployment',
  description:
    'Streams server-sent events: `status`, `log` with the position in the log as its id, and `complete`, after which the ' +
    'stream ends. `Accept: application/json` returns pages, `text/plain` a single text.',
  tags: ['deployments'],
  headers,
  params: Strict({ app: IdOrSlug, id: Uuid }),
  querystring: Strict({ after: Type.Optional(After), limit: Type.Optional(LinesLimit), cursor: Type.Optional(Cursor) }),
  response: {
    200: content({
      'text/event-stream': EventStream,
      'application/json': Page(BuildLogChunk),
      'text/plain': Type.String()
    }),
    ...errorResponses
  }
}

export const AppLogLine = Sent(
  {
    id: Type.Integer({ description: 'Increases with each line.' }),
    deploymentId: Nullable(adapted(Uuid, { description: 'The deployment that logged it.' })),
    at: adapted(Timestamp, { description: 'The time of the line.' }),
    level: LogLevel,
    source: OneOf(['app', 'system', 'build'], {
      description: 'The source: the app, or the system that builds or runs it.'
    }),
    region: Nullable(Type.String({ description: 'The region.', examples: ['iad'] })),
    instance: Nullable(Text('The machine or process that logged it.', '3d8d9e6f')),
    message: Text('One line, as plain text.', 'listening on port 8080')
  },
  { title: 'AppLogLine' }
)

export const listAppLogs = {
  operationId: 'listAppLogs',
  summary: 'Read the log of an app',
  description: 'Newest first. The newest 10,000 lines of the last week are kept.',
  tags: ['apps'],
  params,
  querystring: Strict({
    limit: Type.Optional(LinesLimit),
    cursor: Type.Optional(Cursor),
    since: described(Instant, 'Only from this time on.'),
    until: described(Instant, 'Only before this time.'),
    level: Type.Optional(LogLevel),
    search: described(
      Type.String({
        minLength: 1,
        maxLength: 200,
        pattern: '^[^\\p{Cc}\\p{Cs}]*$',
        'x-form': 'one line of text',
        examples: ['timeout']
      }),
      'Text that the message must contain, ignoring case.'
    )
  }),
  response: { 200: Page(AppLogLine), ...errorResponses }
}

export const followAppLogs = {
  operationId: 'followAppLogs',
  summary: 'Stream the log of an app',
  description:
    'Streams server-sent events: `connected`, `log` with the id of the line, `dropped` with the `count` of lines that a slow reader ' +
    'missed, and `disconnected` when the server shuts down.',
  tags: ['apps'],
  headers,
  params,
  querystring: Strict({
    after: Type.Optional(After),
    colours: Type.Optional(
      Type.Literal('yes', {
        description: 'Keeps the ANSI colour sequences in messages.'
      })
    )
  }),
  response: { 200: content({ 'text/event-stream': EventStream }), ...errorResponses }
}

const measured = (description: string) => Type.Number({ description })
const CpuPercent = measured('Percent of one CPU.')

export const AppMetrics = Sent(
  {
    cpuPercent: CpuPercent,
    memory: Sent(
      {
        usedMb: measured('Used by all instances.'),
        totalMb: measured('The limit of all instances.'),
        usedPercent: measured('The used share.')
      },
      { description: 'The memory of all instances.' }
    ),
    network: Sent(
      {
        bytesInPerSec: measured('Received, recently.'),
        bytesOutPerSec: measured('Sent, recently.')
      },
      { description: 'The traffic of all instances.' }
    ),
    requests: Sent(
      {
        total: measured('Since the instances started.'),
        perSec: measured('Recently.'),
        avgLatencyMs: measured('Mean time from a request to its reply.'),
        errorRate: measured('Share of replies with a status of 500 or above, from 0 to 1.')
      },
      { description: 'The requests to the app.' }
    ),
    instances: Type.Array(
      Sent({
        id: Text('The machine or process.', '3d8d9e6f'),
        region: Type.String({ description: 'Its region.', examples: ['iad'] }),
        state: Type.String({ description: 'Its state, as reported by the platform.', examples: ['started'] }),
        cpuPercent: CpuPercent,
        memoryMb: measured('Its resource usage.')
      }),
      { description: 'The instances.' }
    )
  },
  { title: 'AppMetrics' }
)

export const getAppMetrics = {
  operationId: 'getAppMetrics',
  summary: 'Get the metrics of an app',
  description: 'A few seconds old at most; all zero and without instances while the app is not running.',
  tags: ['apps'],
  params,
  querystring: NoQuery,
  response: { 200: AppMetrics, ...errorResponses }
}
