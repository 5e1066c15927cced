import { type Static, Type } from '@sinclair/typebox'
import type { FastifyInstance, FastifyRequest, onRequestHookHandler, RouteShorthandOptions } from 'fastify'
import { type Authorize, isAuthorized } from '../lib/authorize.ts'
import { errors } from '../lib/errors.ts'
import { readInstant } from '../lib/instant.ts'
import type { Keeper } from './keeper.ts'
import { changeEvent, type MaintenanceChange, type MaintenanceState, type RecordChange } from './state.ts'

const NullableText = (options: object) => Type.Unsafe<string | null>({ type: ['string', 'null'], ...options })
const Instant = (description: string) => NullableText({ format: 'date-time', maxLength: 64, description })

const State = Type.Object(
  {
    enabled: Type.Boolean({ description: 'Whether the platform is in maintenance.' }),
    message: NullableText({
      description: 'A message to visitors, in addition to the standard text.',
      examples: ['Back at six']
    }),
    retryAfter: Type.Integer({ description: 'Seconds after which clients should retry, if there is no end time.' }),
    until: Instant('When it reopens automatically.'),
    since: Instant('When it was closed.'),
    by: NullableText({ description: 'Who changed it last.', examples: ['operator'] })
  },
  { title: 'Maintenance' }
)

const Change = Type.Object(
  {
    enabled: Type.Boolean({ description: 'True closes the platform, false opens it.' }),
    message: Type.Optional(
      NullableText({
        maxLength: 500,
        description: 'The message to visitors; null for none. Absent: unchanged, or null for a new maintenance.',
        examples: ['Back at six']
      })
    ),
    retryAfter: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 86_400,
        description: 'Seconds. Absent: unchanged, or 300 for a new maintenance.'
      })
    ),
    until: Type.Optional(
      Instant(
        'When to reopen automatically; null: when an operator does. Absent: unchanged, or null for a new maintenance.'
      )
    )
  },
  { title: 'MaintenanceChange', additionalProperties: false }
)

/** Common to both routes: operators only, and open during maintenance. */
const policy = { access: 'operator', scope: 'admin', maintenance: false, cors: false, priority: 'operator' } as const

const read = {
  schema: {
    operationId: 'getMaintenance',
    summary: 'Get the maintenance state',
    tags: ['operators'],
    querystring: Type.Object({}, { additionalProperties: false }),
    response: { 200: State }
  },
  config: { ...policy, rateClass: 'general', slo: 'detail' }
} as const satisfies RouteShorthandOptions

const change = {
  schema: {
    operationId: 'setMaintenance',
    summary: 'Close or open the platform',
    tags: ['operators'],
    querystring: Type.Object({}, { additionalProperties: false }),
    body: Change,
    response: { 200: State }
  },
  config: {
    ...policy,
    rateClass: 'strict',
    slo: 'write',
    audit: { type: 'admin', action: 'update', resource: 'maintenance' }
  }
} as const satisfies RouteShorthandOptions

/** Makes a change that an operator asks for in a request: checks it, stores it and records it in the audit log. */
export type ChangeMaintenance = (request: FastifyRequest, change: MaintenanceChange) => Promise<MaintenanceState>

export function changesOf(app: FastifyInstance, keeper: Pick<Keeper, 'set'>): ChangeMaintenance {
  return async (request, change) => {
    refusePast(change.until)
    refuseUnstorable(change.message)
    return keeper.set(change, request.principal?.username ?? null, recordFor(app, request))
  }
}

/** The routes for operators to close and reopen. A change runs to completion even if the client hangs up. */
export function addMaintenanceRoutes(
  app: FastifyInstance,
  path: string,
  { state, change: make }: { readonly state: () => MaintenanceState; readonly change: ChangeMaintenance },
  authorize: Authorize = isOperator
): void {
  const onRequest: onRequestHookHandler = (request, _reply, next) => {
    isAuthorized(authorize, request).then(may => next(may ? undefined : errors.forbidden('For operators only')), next)
  }
  app.get(path, { ...read, onRequest }, async () => state())

  app.post<{ Body: Static<typeof Change> }>(path, { ...change, onRequest }, request => make(request, request.body))
}

/** Without a way to identify callers, access is denied. */
const isOperator: Authorize = request => request.principal?.isOperator === true

function refusePast(until: string | null | undefined): void {
  // Not `<=`: a well-formed but invalid instant parses to NaN.
  if (until && !(readInstant(until) > Date.now())) throw errors.validation('until', 'must be in the future')
}

/** PostgreSQL stores neither NUL nor lone surrogates. */
function refuseUnstorable(message: string | null | undefined): void {
  if (message && (message.includes('\0') || !message.isWellFormed()))
    throw errors.validation('message', 'must not contain NUL')
}

function recordFor(app: FastifyInstance, request: FastifyRequest): RecordChange | undefined {
  if (!app.hasDecorator('audit')) return undefined
  return (tx, before, after) => app.audit.record(tx, request, changeEvent(before, after))
}
