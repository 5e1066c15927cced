import type { Static, TSchema } from '@sinclair/typebox'
import type { Registry } from '../registry.ts'
import type { BreakerSettings } from './breaker.ts'
import type { RetrySettings } from './retries.ts'

export interface RemoteSettings extends Partial<RetrySettings> {
  /** Its name in metrics, spans and errors. */
  readonly service: string
  /** What every path is appended to; without a slash at its end. */
  readonly baseUrl: string
  /** Headers of every request. */
  readonly headers?: Readonly<Record<string, string>>
  /** Milliseconds that one attempt may take; 10 s by default. */
  readonly timeout?: number
  /** Milliseconds that a call may take with all its attempts; 30 s by default. */
  readonly deadline?: number
  /** Of an answer; 10 MB by default. */
  readonly maxBytes?: number
  readonly breaker?: Partial<BreakerSettings>
  /** Seconds after which to come again, for services that do not (only) say so in `Retry-After`. */
  readonly retryAfter?: (status: number, headers: Headers) => number | undefined
  readonly registry?: Registry | undefined
}

export interface RemoteRequest {
  /** What is asked for, in the service's own terms: a label of metrics, from a closed set. */
  readonly operation: string
  readonly method?: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  /** From the slash on, with its query; whatever comes from users is encoded already. */
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  /** A form, text or bytes as they are; anything else as JSON. */
  readonly body?: object | string
  /** Aborted: the call ends at once, with the signal's reason. */
  readonly signal?: AbortSignal | undefined
  /** Whether it may be repeated; by default, whether its method says so. */
  readonly idempotent?: boolean
  /** Instead of those of the client. */
  readonly timeout?: number
  readonly deadline?: number
}

export interface RemoteCall<Schema extends TSchema, Accepted extends number> extends RemoteRequest {
  /** What a good answer looks like. */
  readonly schema?: Schema
  /** Reads the body; as JSON by default. */
  readonly parse?: (text: string) => unknown
  /** Statuses other than 2xx that are answers, too, rather than errors. */
  readonly accept?: readonly Accepted[]
}

export interface RemoteAnswer<Body> {
  readonly ok: true
  readonly status: number
  readonly headers: Headers
  readonly body: Body
}

/** An answer whose status is one of those accepted; its body is JSON if it can be read as that, or else text. */
export interface OtherAnswer<Status extends number> {
  readonly ok: false
  readonly status: Status
  readonly headers: Headers
  readonly body: unknown
}

type Answer<Body, Accepted extends number> =
  | RemoteAnswer<Body>
  | ([Accepted] extends [never] ? never : OtherAnswer<Accepted>)

/** One service that Rhone calls. */
export interface Remote {
  /**
   * Asks it, and again if that can help and does no harm.
   *
   * @throws RemoteError; the signal's reason when its caller has aborted it
   */
  call<Schema extends TSchema, Accepted extends number = never>(
    request: RemoteCall<Schema, Accepted>
  ): Promise<Answer<Static<Schema>, Accepted>>
  /** The same for an answer that comes little by little, without a limit in time or size. It has to be read or aborted. */
  stream(request: RemoteRequest): Promise<RemoteAnswer<AsyncGenerator<Uint8Array, void, void>>>
}
