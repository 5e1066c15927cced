/** Every error code, with its HTTP status and default client message. */
const CATALOGUE = {
  BAD_REQUEST: { statusCode: 400, message: 'Bad request' },
  VALIDATION_ERROR: { statusCode: 400, message: 'Validation error' },
  UNAUTHORIZED: { statusCode: 401, message: 'Authentication required' },
  PAYMENT_FAILED: { statusCode: 402, message: 'Payment failed' },
  QUOTA_EXCEEDED: { statusCode: 402, message: 'Quota exceeded' },
  FORBIDDEN: { statusCode: 403, message: 'Access denied' },
  NOT_FOUND: { statusCode: 404, message: 'Not found' },
  METHOD_NOT_ALLOWED: { statusCode: 405, message: 'Method not allowed' },
  CONFLICT: { statusCode: 409, message: 'Conflict' },
  PRECONDITION_FAILED: { statusCode: 412, message: 'The resource has changed since you read it' },
  PAYLOAD_TOO_LARGE: { statusCode: 413, message: 'The request body is too large' },
  URI_TOO_LONG: { statusCode: 414, message: 'The request URL is too long' },
  UNSUPPORTED_MEDIA_TYPE: { statusCode: 415, message: 'Unsupported media type' },
  BUILD_FAILED: { statusCode: 422, message: 'Build failed' },
  IDEMPOTENCY_MISMATCH: { statusCode: 422, message: 'This Idempotency-Key was used with another request' },
  RATE_LIMIT: { statusCode: 429, message: 'Too many requests' },
  INTERNAL_ERROR: { statusCode: 500, message: 'An unexpected error occurred' },
  NOT_CONFIGURED: { statusCode: 501, message: 'This integration is not configured' },
  DEPLOY_FAILED: { statusCode: 502, message: 'Deployment failed' },
  SERVICE_UNAVAILABLE: { statusCode: 503, message: 'The service is busy, please try again shortly' },
  MAINTENANCE: { statusCode: 503, message: 'The service is under maintenance' }
} as const

export type ErrorCode = keyof typeof CATALOGUE
export const ERROR_CODES = Object.keys(CATALOGUE) as ErrorCode[]

/** The generic message of a code; `AppError.message` may be specific to one occurrence. */
export const titleOf = (code: ErrorCode): string => CATALOGUE[code].message

/** The status of a code, unless an error says otherwise. */
export const statusOf = (code: ErrorCode): number => CATALOGUE[code].statusCode

/** The anchor of a code's entry on the docs page, which a problem's `type` points to. */
export const anchorOf = (code: ErrorCode): string => code.toLowerCase().replaceAll('_', '-')

/** One invalid value in a request. */
export interface Violation {
  /** The part of the request: 'body', 'querystring', 'params' or 'headers'. */
  in: string
  /** JSON pointer to it, as a URI fragment: '#/name'. */
  pointer: string
  /** What is wrong with it. */
  detail: string
}

export interface Action {
  href: string
  label: string
}

export interface AppErrorOptions {
  /** Message for the client; default: the code's message. Never put internals here. */
  message?: string
  /** An additional sentence for the client, such as the field or the limit. */
  detail?: string
  /** The refused values, for clients that mark them in a form. */
  violations?: readonly Violation[]
  /** The underlying error. It is logged with its stack and never sent to the client. */
  cause?: unknown
  /** The next step for the user: a link on the error page. */
  action?: Action
  /** Headers the reply must carry, lower-cased: `retry-after`, `allow`. */
  headers?: Readonly<Record<string, string>>
  /** Overrides the code's status where HTTP is more precise, such as a BAD_REQUEST with 408 or 431. */
  statusCode?: number
}

/** Statuses sent deliberately: nothing has failed unless the error has a cause. */
const REFUSALS: ReadonlySet<number> = new Set([501, 503])

/** An error that may be shown to clients. Anything else thrown becomes an INTERNAL_ERROR and is only logged. */
export class AppError extends Error {
  override readonly name = 'AppError'
  readonly code: ErrorCode
  readonly statusCode: number
  readonly detail: string | undefined
  readonly violations: readonly Violation[] | undefined
  readonly action: Action | undefined
  readonly headers: Readonly<Record<string, string>> | undefined
  /** True if something is broken and needs attention; false if the request was merely refused. */
  readonly isFailure: boolean

  constructor(code: ErrorCode, options: AppErrorOptions = {}) {
    const statusCode = options.statusCode ?? CATALOGUE[code].statusCode
    const isFailure = statusCode >= 500 && (options.cause !== undefined || !REFUSALS.has(statusCode))

    // Refusals come in floods, and their stacks go unread but cost ten times as much as the rest.
    const frames = Error.stackTraceLimit
    if (!isFailure) Error.stackTraceLimit = 0
    super(options.message ?? CATALOGUE[code].message, { cause: options.cause })
    Error.stackTraceLimit = frames

    this.code = code
    this.statusCode = statusCode
    this.detail = options.detail
    this.violations = options.violations
    this.action = options.action
    this.headers = options.headers
    this.isFailure = isFailure
  }
}

/** One factory per code, so that a `throw` reads well: `throw errors.notFound('app')`. */
export const errors = {
  badRequest: (message?: string, cause?: unknown) => new AppError('BAD_REQUEST', { message, cause }),
  validation: (field: string, message: string) => new AppError('VALIDATION_ERROR', { detail: `${field}: ${message}` }),
  unauthorized: (detail?: string) =>
    new AppError('UNAUTHORIZED', { detail, headers: { 'www-authenticate': 'Bearer realm="rhone"' } }),
  paymentFailed: (detail?: string) => new AppError('PAYMENT_FAILED', { detail }),
  quotaExceeded: (resource: string) =>
    new AppError('QUOTA_EXCEEDED', {
      message: `${resource} quota exceeded`,
      detail: 'Please upgrade your plan for additional capacity'
    }),
  forbidden: (detail?: string) => new AppError('FORBIDDEN', { detail }),
  notFound: (resource: string) => new AppError('NOT_FOUND', { message: `${resource} not found` }),
  methodNotAllowed: (allowed: readonly string[]) =>
    new AppError('METHOD_NOT_ALLOWED', { headers: { allow: allowed.join(', ') } }),
  conflict: (message: string, cause?: unknown) => new AppError('CONFLICT', { message, cause }),
  preconditionFailed: (detail?: string) => new AppError('PRECONDITION_FAILED', { detail }),
  buildFailed: (detail: string, cause?: unknown) => new AppError('BUILD_FAILED', { detail, cause }),
  deployFailed: (detail: string, cause?: unknown) => new AppError('DEPLOY_FAILED', { detail, cause }),
  idempotencyMismatch: () => new AppError('IDEMPOTENCY_MISMATCH'),
  /**
   * @param retryAfter whole seconds until a retry can succeed
   * @param limit the limit that was exceeded, as a sentence without a full stop
   */
  rateLimit: (retryAfter: number, limit?: string) =>
    new AppError('RATE_LIMIT', {
      detail: `${limit === undefined ? 'Try' : `${limit}; try`} again in ${inWords(retryAfter)}`,
      headers: { 'retry-after': String(retryAfter) }
    }),
  internal: (cause: unknown) => new AppError('INTERNAL_ERROR', { cause }),
  notConfigured: (integration: string) =>
    new AppError('NOT_CONFIGURED', { detail: `${integration} is not configured on this server` }),
  /** @param retryAfter whole seconds until a retry may succeed */
  unavailable: (retryAfter: number, detail?: string, cause?: unknown) =>
    new AppError('SERVICE_UNAVAILABLE', { detail, cause, headers: { 'retry-after': String(retryAfter) } }),
  /** @param retryAfter whole seconds until the service is expected back */
  maintenance: (retryAfter: number, message?: string) =>
    new AppError('MAINTENANCE', { detail: message, headers: { 'retry-after': String(retryAfter) } })
} as const

/** Rounded up, so that clients do not retry too early. */
function inWords(seconds: number): string {
  if (seconds <= 120) return seconds === 1 ? 'a second' : `${seconds} seconds`
  return seconds <= 7_200 ? `${Math.ceil(seconds / 60)} minutes` : `${Math.ceil(seconds / 3_600)} hours`
}

/** Maximum depth of the cause chain, which may be circular. */
const MAX_CAUSES = 5

/** The chain of an error and its causes, outermost first. */
export function causesOf(error: unknown): Error[] {
  const chain: Error[] = []
  for (let cause = error; cause instanceof Error && chain.length <= MAX_CAUSES; cause = cause.cause) chain.push(cause)
  return chain
}
