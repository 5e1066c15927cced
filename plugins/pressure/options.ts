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
      'Mean lateness of the event loop in milliseconds from which bulk, normal requests, and all but probes are refused; part of them are from the step before. A server that is merely busy stays far below.'
    ),
    minUtilization: Type.Number({
      default: 0.7,
      minimum: 0,
      maximum: 1,
      description: 'Below this share of busy time a late event loop is the fault of the machine, and nothing is shed.'
    }),
    heap: Steps(0.85, 0.92, 0.97, 'The same for the heap in use, as shares of what V8 may take.'),
    rss: Steps(0.85, 0.92, 0.97, 'The same for resident memory, as shares of memoryLimit.'),
    memoryLimit: Type.Integer({
      default: 0,
      minimum: 0,
      description: 'Bytes of memory that the machine has for this process; 0 does not look at resident memory.'
    }),
    sampleInterval: Type.Integer({ default: 250, minimum: 10, description: 'Milliseconds between two readings.' }),
    riseAfter: Type.Integer({ default: 2, minimum: 1, description: 'Readings in a row before more is refused.' }),
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
      description: 'Milliseconds of a turn of the event loop after which no more requests are started in it.'
    }),
    minConcurrency: Type.Integer({
      default: 32,
      minimum: 1,
      description: 'Requests under way at once that are always fine, and among which latency is as usual.'
    }),
    initialConcurrency: Type.Integer({ default: 96, minimum: 1, description: 'How many at once to begin with.' }),
    maxConcurrency: Type.Integer({ default: 1_000, minimum: 1, description: 'How many at once at the most.' }),
    latencyTolerance: Type.Number({
      default: 3,
      minimum: 1,
      description: 'How many times its usual latency a request may take before fewer are let in at once.'
    }),
    shares: Type.Object(
      {
        operator: Share(0.2, 'Of operators.'),
        webhook: Share(0.2, 'Of webhooks.'),
        normal: Share(0.4, 'Of most requests.'),
        bulk: Share(0.1, 'Of what can wait.')
      },
      {
        default: {},
        additionalProperties: false,
        description: 'The part of the concurrency that each priority has to itself when it needs it.'
      }
    ),
    maxWait: Type.Integer({
      default: 240,
      minimum: 0,
      description: 'Milliseconds that a request waits for its turn at most; one that would wait longer is refused.'
    }),
    maxWebhookWait: Type.Integer({
      default: 3_000,
      minimum: 0,
      description: 'The same for a webhook: its sender waits for ten seconds, and may never ask again.'
    }),
    maxWaiting: Type.Integer({ default: 1_000, minimum: 0, description: 'Requests of one priority that may wait.' }),
    refusalDelay: Type.Integer({
      default: 35,
      minimum: 0,
      description: 'Milliseconds for which a refusal is held back, so that the client does not ask again at once.'
    }),
    longestRefusal: Type.Integer({
      default: 1_000,
      minimum: 0,
      description: 'Milliseconds after which a refusal goes out, even if refusals take more than a tenth of the time.'
    }),
    maxStreams: Type.Integer({ default: 1_000, minimum: 0, description: 'Streams that may be open at once.' })
  },
  { additionalProperties: false }
)
export type PressureOptions = Static<typeof PressureOptions>
