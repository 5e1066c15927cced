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
  Timestamp,
  Uuid
} from './common.ts'
import { errorResponses } from './error.ts'

const LogLevel = OneOf(['debug', 'info', 'warn', 'error'])
const Instant = Type.String({ format: 'date-time', maxLength: 40 })
const LinesLimit = Type.Integer({ minimum: 1, maximum: 1_000, default: 100, description: 'How many items at most.' })
const After = Type.Integer({
  minimum: 0,
  maximum: Number.MAX_SAFE_INTEGER,
  description: 'The `id` after which to begin; a client that comes back says it as `Last-Event-ID` instead.'
})
const EventStream = Type.String({ description: 'Server-sent events.' })
const content = (types: Record<string, TSchema>) => ({
  content: Object.fromEntries(Object.entries(types).map(([type, schema]) => [type, { schema }]))
})
const described = <Schema extends TSchema>(schema: Schema, description: string) =>
  Type.Optional(adapted(schema, { description }))

const params = Strict({ app: IdOrSlug })
const headers = Headers({ 'last-event-id': Type.Optional(Type.String({ maxLength: 100 })) })

export const BuildLogChunk = Sent({
  seq: Type.Integer({ description: 'Its place in the log.' }),
  phase: Type.String({ description: 'The status of the deployment in which it was said.', examples: ['building'] }),
  text: Type.String({ description: 'Plain text of any number of lines, not always whole ones; secrets are masked.' }),
  at: Timestamp
})

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

export const AppLogLine = Sent({
  id: Type.Integer(),
  deploymentId: Nullable(Uuid),
  at: Timestamp,
  level: LogLevel,
  source: OneOf(['app', 'system', 'build']),
  region: Nullable(Type.String()),
  instance: Nullable(Type.String()),
  message: Type.String()
})

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
      Type.String({ minLength: 1, maxLength: 200, pattern: '^[^\\p{Cc}\\p{Cs}]*$' }),
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
  querystring: Strict({ after: Type.Optional(After) }),
  response: { 200: content({ 'text/event-stream': EventStream }), ...errorResponses }
}

const PerSecond = Type.Number()

export const AppMetrics = Sent({
  cpuPercent: Type.Number(),
  memory: Sent({ usedMb: Type.Number(), totalMb: Type.Number(), usedPercent: Type.Number() }),
  network: Sent({ bytesInPerSec: PerSecond, bytesOutPerSec: PerSecond }),
  requests: Sent({
    total: Type.Number(),
    perSec: PerSecond,
    avgLatencyMs: Type.Number(),
    errorRate: Type.Number({ description: 'A share from 0 to 1.' })
  }),
  instances: Type.Array(
    Sent({
      id: Type.String(),
      region: Type.String(),
      state: Type.String(),
      cpuPercent: Type.Number(),
      memoryMb: Type.Number()
    })
  )
})

export const getAppMetrics = {
  operationId: 'getAppMetrics',
  summary: 'See how an app is doing',
  description: 'As it was a few seconds ago; all zero and without instances when nothing of the app runs.',
  tags: ['apps'],
  params,
  querystring: NoQuery,
  response: { 200: AppMetrics, ...errorResponses }
}
