/** Why a call to another service failed. */
export type RemoteFailure =
  /** The service did not answer in time. */
  | 'timeout'
  /** It was unreachable or closed the connection. */
  | 'network'
  /** It was not called, because the circuit is open after repeated failures. */
  | 'refused'
  /** It answered with an unexpected status. */
  | 'status'
  /** Its answer does not match the schema or is too long. */
  | 'shape'

interface RemoteErrorOptions {
  readonly service: string
  readonly operation: string
  readonly kind: RemoteFailure
  readonly status?: number | undefined
  readonly retryAfter?: number | undefined
  readonly detail?: string
  readonly cause?: unknown
}

/** A failed call to another service. Safe to log: it contains nothing of the request or the answer. */
export class RemoteError extends Error {
  override readonly name = 'RemoteError'
  readonly service: string
  readonly operation: string
  readonly kind: RemoteFailure
  /** The status of the answer, if there was one. */
  readonly status: number | undefined
  /** Seconds after which another call may succeed, if known. */
  readonly retryAfter: number | undefined

  constructor({ service, operation, kind, status, retryAfter, detail, cause }: RemoteErrorOptions) {
    super(`${service}: ${operation}: ${detail ?? sentenceOf(kind, status)}`, { cause })
    this.service = service
    this.operation = operation
    this.kind = kind
    this.status = status
    this.retryAfter = retryAfter
  }

  /** Whether the service failed, rather than refused the request. */
  get isOutage(): boolean {
    if (this.kind === 'status') return this.status! >= 500
    return this.kind === 'timeout' || this.kind === 'network'
  }
}

function sentenceOf(kind: RemoteFailure, status: number | undefined): string {
  switch (kind) {
    case 'timeout':
      return 'no answer in time'
    case 'network':
      return 'cannot be reached'
    case 'refused':
      return 'not called, because the last calls failed'
    case 'status':
      return `answered ${status}`
    case 'shape':
      return 'unexpected reply format'
  }
}
