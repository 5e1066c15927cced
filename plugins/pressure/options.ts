import { type Static, Type } from '@sinclair/typebox'

const Steps = (first: number, second: number, third: number, description: string) =>
  Type.Tuple([Type.Number({ minimum: 0 }), Type.Number({ minimum: 0 }), Type.Number({ minimum: 0 })], {
    default: [first, second, third],
    description
  })

const Share = (part: number, description: string) => Type.Number({ default: part, minimum: 0, maximum: 1, description })

export const PressureOptions = Type.Object(
  {
    eventLoopDelay: Steps(
      80,
      160,
      320,
      'Mean event loop delay in milliseconds from which bulk, normal requests, and all but probes are refused; some of them are refused from the previous step on. A busy server stays far below.'
    ),
    minUtilization: Type.Number({
      default: 0.7,
      minimum: 0,
      maximum: 1,
      description: 'Below this event loop utilization, other load on the machine causes the delay, and nothing is shed.'
    }),
    heap: Steps(0.85, 0.92, 0.97, 'The same for the used heap, as shares of the V8 heap limit.'),
    rss: Steps(0.85, 0.92, 0.97, 'The same for resident memory, as shares of memoryLimit.'),
    memoryLimit: Type.Integer({
      default: 0,
      minimum: 0,
      description: 'Bytes of memory available to this process. 0: resident memory is not checked.'
    }),
    sampleInterval: Type.Integer({ default: 250, minimum: 10, description: 'Milliseconds between readings.' }),
    riseAfter: Type.Integer({
      default: 2,
      minimum: 1,
      description: 'Consecutive high readings before more is refused.'
    }),
    sustainIn: Type.Integer({
      default: 5_000,
      minimum: 0,
      description: 'Milliseconds of pressure after which the instance is no longer ready.'
    }),
    sustainOut: Type.Integer({
      default: 10_000,
      minimum: 0,
      description: 'Milliseconds of calm after which it is ready again.'
    }),
    turnBudget: Type.Integer({
      default: 8,
      minimum: 1,
      description: 'Milliseconds of an event loop turn after which it admits no more requests.'
    }),
    minConcurrency: Type.Integer({
      default: 32,
      minimum: 1,
      description: 'Concurrent requests that are always admitted, and that define the normal latency.'
    }),
    initialConcurrency: Type.Integer({ default: 96, minimum: 1, description: 'The initial concurrency limit.' }),
    maxConcurrency: Type.Integer({ default: 1_000, minimum: 1, description: 'The highest concurrency limit.' }),
    latencyTolerance: Type.Number({
      default: 3,
      minimum: 1,
      description: 'Multiple of the usual latency from which the limit is lowered.'
    }),
    shares: Type.Object(
      {
        operator: Share(0.2, 'For operators.'),
        webhook: Share(0.2, 'For webhooks.'),
        normal: Share(0.4, 'For most requests.'),
        bulk: Share(0.1, 'For bulk requests.')
      },
      {
        default: {},
        additionalProperties: false,
        description: 'The share of the limit that is reserved for each priority.'
      }
    ),
    maxWait: Type.Integer({
      default: 240,
      minimum: 0,
      description: 'Longest wait for admission, in milliseconds. A request that would wait longer is refused.'
    }),
    maxWebhookWait: Type.Integer({
      default: 3_000,
      minimum: 0,
      description: 'The same for webhooks, whose senders wait ten seconds and may not retry.'
    }),
    maxWaiting: Type.Integer({ default: 1_000, minimum: 0, description: 'Requests that may wait, per priority.' }),
    refusalDelay: Type.Integer({
      default: 35,
      minimum: 0,
      description: 'Milliseconds by which a refusal is delayed, so that the client does not retry at once.'
    }),
    longestRefusal: Type.Integer({
      default: 1_000,
      minimum: 0,
      description: 'Milliseconds after which a refusal is sent, even if refusals use more than a tenth of the time.'
    }),
    maxStreams: Type.Integer({ default: 1_000, minimum: 0, description: 'Streams that may be open at once.' })
  },
  { additionalProperties: false }
)
export type PressureOptions = Static<typeof PressureOptions>
