/** Why a call to another service has failed. */
export type RemoteFailure =
  /** It has not answered in time. */
  | 'timeout'
  /** It could not be reached, or has hung up. */
  | 'network'
  /** It was not asked: its last calls have failed, and it is given time. */
  | 'refused'
  /** It has answered with a status that is none of those expected. */
  | 'status'
  /** What it has answered is not of the form that was agreed on, or too long. */
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

/** A call to another service that has failed. It may be logged: it holds nothing of what was sent or answered. */
export class RemoteError extends Error {
  override readonly name = 'RemoteError'
  readonly service: string
  readonly operation: string
  readonly kind: RemoteFailure
  /** What it has answered, where it has. */
  readonly status: number | undefined
  /** Seconds after which another call may succeed, where that is known. */
  readonly retryAfter: number | undefined

  constructor({ service, operation, kind, status, retryAfter, detail, cause }: RemoteErrorOptions) {
    super(`${service}: ${operation}: ${detail ?? sentenceOf(kind, status)}`, { cause })
    this.service = service
    this.operation = operation
    this.kind = kind
    this.status = status
    this.retryAfter = retryAfter
  }

  /** Whether the service has failed, rather than refused what it was asked for. */
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
      return 'not asked, because its last calls have failed'
    case 'status':
      return `answered ${status}`
    case 'shape':
      return 'answered in another form'
  }
}
