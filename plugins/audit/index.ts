import { randomUUID } from 'node:crypto'
import { type Static, Type } from '@sinclair/typebox'
import type { FastifyPluginAsync, FastifyRequest, onSendHookHandler } from 'fastify'
import fp from 'fastify-plugin'
import { addressKey } from '../lib/address.ts'
import { counter, tallies } from '../lib/metrics.ts'
import { type PluginInput, parseOptions } from '../lib/options.ts'
import type { AuditType, Db } from '../lib/own-types.ts'
import type { Registry } from '../lib/registry.ts'
import { AUDIT_DETAILS } from './catalogue.ts'
import { minuteBudget } from './minute-budget.ts'
import { outcomeOf, resourceOf } from './outcome.ts'
import type { Audit, AuditedCall, AuditSubject } from './port.ts'
import { createAuditQueue } from './queue.ts'
import { AUDIT_OUTCOMES, type AuditEvent, type AuditRow, requestRow, systemRow } from './row.ts'
import type { AuditSink, StoredRow } from './sink.ts'
import type { AuditSpool } from './spool.ts'

export { auditDdl } from './ddl.ts'
export type { Audit } from './port.ts'
export type { AuditEvent, AuditOutcome, AuditRow, SystemAuditEvent } from './row.ts'
export type { AuditSink, StoredRow } from './sink.ts'
export { type AuditSpool, fileSpool } from './spool.ts'

export const AuditOptions = Type.Object(
  {
    batchSize: Type.Integer({
      default: 100,
      minimum: 1,
      description: 'Maximum number of attempts per write.'
    }),
    flushInterval: Type.Integer({
      default: 50,
      minimum: 1,
      description: 'Milliseconds for which an attempt waits, to be written in a batch.'
    }),
    queueSize: Type.Integer({
      default: 10_000,
      minimum: 1,
      description: 'Maximum number of attempts that wait for the sink.'
    }),
    anonymousPerMinute: Type.Integer({
      default: 600,
      minimum: 0,
      description: 'Attempts of unknown callers written per minute. Others are only counted.'
    }),
    anonymousPerAddress: Type.Integer({
      default: 30,
      minimum: 0,
      description: 'The same limit per address, so that a noisy one cannot hide others.'
    }),
    details: Type.Record(Type.String(), Type.Array(Type.String()), {
      default: {},
      description: 'Keys of details to keep, by "resource.action", in addition to the catalogue.'
    })
  },
  { additionalProperties: false }
)
export type AuditOptions = Static<typeof AuditOptions>

export interface AuditDeps {
  /** Without a sink, events are only logged. */
  sink?: AuditSink
  /** Takes attempts that the sink rejects until it accepts them. Without a spool, they are lost after three tries. */
  spool?: AuditSpool
  /** The types that events can have, so that their series exist before the first event. */
  types?: readonly AuditType[]
  registry?: Registry
}

declare module 'fastify' {
  interface FastifyInstance {
    audit: Audit
  }
  interface FastifyRequest {
    auditSubject: AuditSubject | null
  }
  interface FastifyContextConfig {
    /** Records every refused or failed call of this route. Its handler records the successful ones. */
    audit?: AuditedCall
  }
}

/**
 * Keeps an audit trail: one row per event through the sink, plus a structured log line. Register it before the routes
 * whose refused calls it should see.
 */
const audit: FastifyPluginAsync<PluginInput<typeof AuditOptions, AuditDeps>> = async (app, input) => {
  const options = parseOptions('rhone-audit', AuditOptions, input, ['sink', 'spool', 'types', 'registry'])
  const sink: AuditSink = input.sink ?? { write: async () => {}, writeMany: async () => {} }
  const catalogue = { ...AUDIT_DETAILS, ...options.details }
  const takeAnonymous = minuteBudget(options.anonymousPerAddress, options.anonymousPerMinute)
  const addressOf = addressKey(app)

  const events = tallies(input.registry, {
    name: 'rhone_audit_events_total',
    help: 'Audit events written, by type and outcome.',
    labelNames: ['type', 'outcome']
  })
  for (const type of input.types ?? []) for (const outcome of AUDIT_OUTCOMES) events(type, outcome)
  const failures = counter(input.registry, {
    name: 'rhone_audit_write_failures_total',
    help: 'Audit events that could not be written.'
  })
  const suppressed = counter(input.registry, {
    name: 'rhone_audit_suppressed_total',
    help: 'Attempts of unknown callers that were not written because of the limits.'
  })

  const queue = createAuditQueue({
    ...options,
    write: rows => sink.writeMany(rows),
    spool: input.spool,
    onWritten: rows => rows.forEach(announce),
    onFailure: err => app.log.error({ err }, 'audit write failed'),
    onLost(rows, err) {
      failures.inc(rows.length)
      app.log.error({ err, audit: rows }, 'audit events are lost')
    }
  })
  app.addHook('onReady', async () => queue.open())
  app.addHook('onClose', () => queue.close())

  function rowOf(request: FastifyRequest, event: AuditEvent): AuditRow {
    return requestRow(request, { ...request.auditSubject, ...event }, catalogue)
  }

  function announce(row: AuditRow): void {
    events(row.eventType, row.outcome).add()
    app.log.info({ audit: row }, 'audit')
  }

  async function write(tx: Db | null, row: AuditRow, isLast = false): Promise<void> {
    try {
      if (tx === null) await sink.writeMany([row])
      else if (isLast && sink.writeLast !== undefined) await sink.writeLast(tx, row)
      else await sink.write(tx, row)
    } catch (error) {
      failures.inc()
      throw error
    }
    announce(row)
  }

  async function writeWith<T>(row: AuditRow, change: (row: StoredRow) => Promise<T | undefined>) {
    if (sink.sign === undefined) return undefined
    const changed = await change(sink.sign(row))
    if (changed !== undefined) announce(row)
    return changed
  }

  function attempt(request: FastifyRequest, event: AuditEvent): void {
    const row = rowOf(request, event)
    if (row.userId === null && !takeAnonymous(addressOf(request))) suppressed.inc()
    else queue.push({ ...row, id: randomUUID(), createdAt: new Date() })
  }

  app.decorateRequest('auditSubject', null)
  app.decorate('audit', {
    record: (tx, request, event, { isLast } = { isLast: false }) => write(tx, rowOf(request, event), isLast),
    recordWith: (request, event, change) => writeWith(rowOf(request, event), change),
    recordSystem: (tx, event) => write(tx, systemRow(event, catalogue)),
    attempt,
    about: (request, subject) => {
      request.auditSubject = { ...request.auditSubject, ...subject }
    }
  })

  // Only on these routes: any hook of this kind would put every other reply on the slow path too.
  app.addHook('onRoute', route => {
    const event = route.config?.audit
    if (event !== undefined) route.onSend = [route.onSend ?? [], recorderOf(event)].flat()
  })

  /** Not onResponse, which does not run when the client has gone: a prober could hang up and leave no trace. */
  function recorderOf(event: AuditedCall): onSendHookHandler {
    return (request, reply, _payload, next) => {
      const outcome = outcomeOf(reply.statusCode)
      if (outcome) attempt(request, { ...event, resourceId: resourceOf(request, event.resource), outcome })
      next()
    }
  }
}

export default fp(audit, { name: 'rhone-audit', fastify: '5.x' })
