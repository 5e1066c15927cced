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

const LogLevel = OneOf(['debug', 'info', 'warn', 'error'], { description: 'How much it matters.' })
const Instant = Type.String({ format: 'date-time', maxLength: 40 })
const LinesLimit = Type.Integer({ minimum: 1, maximum: 1_000, default: 100, description: 'How many items at most.' })
const After = Type.Integer({
  minimum: 0,
  maximum: Number.MAX_SAFE_INTEGER,
  description: 'The `id` after which to begin; a client that comes back says it as `Last-Event-ID` instead.'
})
const LastEventId = Type.String({
  maxLength: 100,
  description: 'The id of the last event that the client has seen.',
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
    seq: Type.Integer({ description: 'Its place in the log.' }),
    phase: Type.String({ description: 'The status of the deployment in which it was said.', examples: ['building'] }),
    text: Text('Plain text of any number of lines, not always whole ones; secrets are masked.', 'added 3 packages\n'),
    at: adapted(Timestamp, { description: 'When it was said.' })
  },
  { title: 'BuildLogChunk' }
)

export const getBuildLog = {
  operationId: 'getBuildLog',
  summary: 'Read what a deployment says while it is made',
  description:
    'As events while it is said: `status`, `log` with the place in the log as its id, and `complete`, after which the ' +
    'stream ends. With `Accept: application/json` in pages, with `text/plain` as one text.',
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
    id: Type.Integer({ description: 'Grows from line to line.' }),
    deploymentId: Nullable(adapted(Uuid, { description: 'The deployment that has said it.' })),
    at: adapted(Timestamp, { description: 'When it was said.' }),
    level: LogLevel,
    source: OneOf(['app', 'system', 'build'], { description: 'Who says it: the app, or what runs or builds it.' }),
    region: Nullable(Type.String({ description: 'Where it was said.', examples: ['iad'] })),
    instance: Nullable(Text('The machine or process that has said it.', '3d8d9e6f')),
    message: Text('One line, as plain text.', 'listening on port 8080')
  },
  { title: 'AppLogLine' }
)

export const listAppLogs = {
  operationId: 'listAppLogs',
  summary: 'Read what an app has said',
  description: 'Newest first; the newest 10,000 lines of a week are kept.',
  tags: ['apps'],
  params,
  querystring: Strict({
    limit: Type.Optional(LinesLimit),
    cursor: Type.Optional(Cursor),
    since: described(Instant, 'From this instant on.'),
    until: described(Instant, 'Before this instant.'),
    level: Type.Optional(LogLevel),
    search: described(
      Type.String({
        minLength: 1,
        maxLength: 200,
        pattern: '^[^\\p{Cc}\\p{Cs}]*$',
        'x-form': 'one line of text',
        examples: ['timeout']
      }),
      'Text that stands in the message, in whichever case.'
    )
  }),
  response: { 200: Page(AppLogLine), ...errorResponses }
}

export const followAppLogs = {
  operationId: 'followAppLogs',
  summary: 'Read what an app says, while it does',
  description:
    'As events: `connected`, `log` with the id of the line, `dropped` with the `count` of lines that a slow reader has ' +
    'missed, and `disconnected` when the server is about to end.',
  tags: ['apps'],
  headers,
  params,
  querystring: Strict({
    after: Type.Optional(After),
    colours: Type.Optional(
      Type.Literal('yes', {
        description: 'Messages keep their colours, as the sequences that terminals take for them.'
      })
    )
  }),
  response: { 200: content({ 'text/event-stream': EventStream }), ...errorResponses }
}

const measured = (description: string) => Type.Number({ description })
const CpuPercent = measured('Of one processor.')

export const AppMetrics = Sent(
  {
    cpuPercent: CpuPercent,
    memory: Sent(
      {
        usedMb: measured('What all instances use.'),
        totalMb: measured('What they may use.'),
        usedPercent: measured('The one as a part of the other.')
      },
      { description: 'The memory of all instances.' }
    ),
    network: Sent(
      {
        bytesInPerSec: measured('Received, over the last while.'),
        bytesOutPerSec: measured('Sent, over the last while.')
      },
      { description: 'The traffic of all instances.' }
    ),
    requests: Sent(
      {
        total: measured('Since the instances began.'),
        perSec: measured('Over the last while.'),
        avgLatencyMs: measured('From a request to its reply.'),
        errorRate: measured('Replies of 500 and above, as a share from 0 to 1.')
      },
      { description: 'What the app was asked.' }
    ),
    instances: Type.Array(
      Sent({
        id: Text('The machine or process.', '3d8d9e6f'),
        region: Type.String({ description: 'Where it runs.', examples: ['iad'] }),
        state: Type.String({ description: 'As the platform calls it.', examples: ['started'] }),
        cpuPercent: CpuPercent,
        memoryMb: measured('What it uses.')
      }),
      { description: 'Each of them.' }
    )
  },
  { title: 'AppMetrics' }
)

export const getAppMetrics = {
  operationId: 'getAppMetrics',
  summary: 'See how an app is doing',
  description: 'As it was a few seconds ago; all zero and without instances when nothing of the app runs.',
  tags: ['apps'],
  params,
  querystring: NoQuery,
  response: { 200: AppMetrics, ...errorResponses }
}
