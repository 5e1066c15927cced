import type { Static, TSchema } from '@sinclair/typebox'
import type { Registry } from '../registry.ts'
import type { BreakerSettings } from './breaker.ts'
import type { RetrySettings } from './retries.ts'

export interface RemoteSettings extends Partial<RetrySettings> {
  /** Its name in metrics, spans and errors. */
  readonly service: string
  /** Prefix of every path, without a trailing slash. */
  readonly baseUrl: string
  /** Headers sent with every request; a function if they can change. */
  readonly headers?: Readonly<Record<string, string>> | (() => Readonly<Record<string, string>>)
  /** Time limit of one attempt in milliseconds; default 10 s. */
  readonly timeout?: number
  /** Time limit of a call with all its attempts in milliseconds; default 30 s. */
  readonly deadline?: number
  /** Maximum size of an answer; default 10 MB. */
  readonly maxBytes?: number
  readonly breaker?: Partial<BreakerSettings>
  /** Seconds until a retry, for services that signal it elsewhere than in `Retry-After`, or in both. */
  readonly retryAfter?: (status: number, headers: Headers) => number | undefined
  readonly registry?: Registry | undefined
}

export interface RemoteRequest {
  /** The operation, in the service's own terms; a metrics label, so it must come from a closed set. */
  readonly operation: string
  readonly method?: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  /** Starts with a slash and includes the query; user input must already be encoded. */
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  /** Forms, text and bytes are sent as they are, anything else as JSON. */
  readonly body?: object | string
  /** Aborting ends the call immediately with the signal's reason. */
  readonly signal?: AbortSignal | undefined
  /** Whether the call may be retried; default: by method. */
  readonly idempotent?: boolean
  /** Overrides the client's value, as `deadline` does. */
  readonly timeout?: number
  readonly deadline?: number
}

export interface RemoteCall<Schema extends TSchema, Accepted extends number> extends RemoteRequest {
  /** Schema of a successful answer. */
  readonly schema?: Schema
  /** Parses the body; default: as JSON. */
  readonly parse?: (text: string) => unknown
  /** Statuses other than 2xx to return as answers instead of throwing. */
  readonly accept?: readonly Accepted[]
}

export interface RemoteAnswer<Body> {
  readonly ok: true
  readonly status: number
  readonly headers: Headers
  readonly body: Body
}

/** An answer with one of the accepted statuses; its body is parsed as JSON if possible, otherwise text. */
export interface AcceptedAnswer<Status extends number> {
  readonly ok: false
  readonly status: Status
  readonly headers: Headers
  readonly body: unknown
}

type Answer<Body, Accepted extends number> =
  | RemoteAnswer<Body>
  | ([Accepted] extends [never] ? never : AcceptedAnswer<Accepted>)

/** A service that Rhone calls. */
export interface Remote {
  /**
   * Calls the service, and retries where that is safe and may help.
   *
   * @throws RemoteError; the signal's reason if the caller aborted it
   */
  call<Schema extends TSchema, Accepted extends number = never>(
    request: RemoteCall<Schema, Accepted>
  ): Promise<Answer<Static<Schema>, Accepted>>
  /** The same for a streamed answer without limits on time or size. It must be read to the end or aborted. */
  stream(request: RemoteRequest): Promise<RemoteAnswer<AsyncGenerator<Uint8Array, void, void>>>
}
