import { type PostgresTarget, sqlState } from '../lib/postgres.ts'
import { ask, connectionClosed, openSession, type Session } from '../lib/postgres-session.ts'
import type { Conversions, ExclusiveConnection, TransactionRunner } from './port.ts'
import { isStalePlan, refuseRepeat } from './stale-plan.ts'
import { Transaction } from './transaction.ts'

export interface ConnectionSettings {
  target: PostgresTarget
  applicationName: string
  /** `auto`: where nothing stands between us and the server. */
  prepare: boolean | 'auto'
  /** Seconds. */
  connectTimeout: number
  /** Limits that the server keeps, in milliseconds. */
  parameters: Record<string, number> | undefined
  /** Milliseconds after which a statement has been cancelled by the server; 0 when it never is. */
  statementTimeout: number
  /** What drizzle makes of the driver's conversions between PostgreSQL's types and JavaScript's. */
  conversions: Conversions
}

/** How much later than the server's own time limit its answer may come before the server is taken for gone. */
const ANSWER_GRACE = 1_000
/** Statements that may be under way at once; more wait in the driver. */
const PIPELINE = 16
/** The SQLSTATE of a prepared statement that the server does not know. */
const LOST_STATEMENT = '26000'

/** What is asked of the server when a connection is opened. */
const PROBE = `select pg_backend_pid() as pid, current_setting('transaction_read_only') = 'on' as "isReadOnly"`

/** `state` is what the driver was told when it connected. */
type ProbeResult = { 0: { pid: number; isReadOnly: boolean }; state: { pid: number } }

interface Preparation {
  prepare: boolean
  simple?: boolean
}

const PREPARED: Preparation = { prepare: true, simple: false }
/** With parameters, a statement takes two round trips then; without any, it takes one either way. */
const UNPREPARED: Preparation = { prepare: false }

type Reject = (reason: Error) => void

/** One connection of the pool, from its opening to its end. */
export class Connection implements ExclusiveConnection {
  /** When it was last given back, by `performance.now()`. */
  usedAt = performance.now()
  /** Operations that it is lent to. */
  holders = 0
  readonly openedAt = this.usedAt
  /** Its part of the longest life, so that connections opened together do not end together. */
  readonly lifeShare = 0.8 + 0.2 * Math.random()
  /** Whether it is to be closed as soon as nobody holds it. */
  isSpent = false
  /** Whether something stands between us and the server, and may give the next transaction to another session of it. */
  isPooled = false
  /** Whether a statement was gone that was prepared here. */
  hasLostStatements = false
  /** Whether the server took no writes when it was opened. */
  isReadOnly = false
  readonly #session: Session
  #preparation: Preparation
  readonly #silence: NodeJS.Timeout | undefined
  /** What is told when the connection is lost: the driver forgets what was sent between the error of a socket and its end. */
  readonly #underWay = new Set<Reject>()
  #onLost: Reject | undefined
  #closed = false

  private constructor(settings: ConnectionSettings, onClose: (connection: Connection) => void) {
    this.#session = openSession(settings.target, {
      applicationName: settings.applicationName,
      connectTimeout: settings.connectTimeout,
      prepare: settings.prepare !== false,
      pipeline: PIPELINE,
      parameters: settings.parameters,
      onClose: () => {
        this.#closed = true
        clearTimeout(this.#silence)
        this.#onLost?.(connectionClosed())
        for (const reject of this.#underWay) reject(connectionClosed())
        onClose(this)
      }
    })
    const { options } = this.#session.sql
    Object.assign(options.parsers, settings.conversions.parsers)
    Object.assign(options.serializers, settings.conversions.serializers)
    this.#preparation = settings.prepare === false ? UNPREPARED : PREPARED
    this.#silence = this.#watchForSilence(settings.statementTimeout)
  }

  static async open(settings: ConnectionSettings, onClose: (connection: Connection) => void): Promise<Connection> {
    const connection = new Connection(settings, onClose)
    const answer = await ask(connection.#session, PROBE, settings.connectTimeout * 1_000)
    const { 0: row, state } = answer as ProbeResult
    connection.isReadOnly = row.isReadOnly
    // A pooler tells clients of a process of its own making.
    connection.isPooled = row.pid !== state.pid
    if (settings.prepare === 'auto' && connection.isPooled) connection.#preparation = UNPREPARED
    return connection
  }

  get closed(): boolean {
    return this.#closed || this.#session.destroyed
  }

  /** Statements that are sent without waiting for each other's results run in that order. */
  query(text: string, parameters: unknown[], asArrays: boolean): Promise<unknown> {
    return this.#send(text, parameters, asArrays, this.#preparation)
  }

  /** Several statements in one text, transactions of their own among them; of one that fails in the middle nothing stays. */
  async script(text: string): Promise<unknown[]> {
    try {
      const results = (await this.#send(text, [], false, UNPREPARED)) as unknown[]
      return results.flat()
    } catch (error) {
      if (!this.closed) await this.query('rollback', [], false).catch(() => this.destroy())
      throw error
    }
  }

  #send(text: string, parameters: unknown[], asArrays: boolean, preparation: Preparation): Promise<unknown> {
    if (this.closed) return Promise.reject(connectionClosed())
    const underWay = this.#underWay
    if (underWay.size === 0) this.#silence?.refresh()
    return new Promise((resolve, reject) => {
      underWay.add(reject)
      const query = this.#session.sql.unsafe(text, parameters as never[], preparation as { prepare: boolean })
      if (preparation.prepare) refuseRepeat(query)
      ;(asArrays ? query.values() : query).then(
        rows => {
          this.#heardOf(reject)
          resolve(rows)
        },
        error => {
          this.#heardOf(reject)
          if (sqlState(error) === LOST_STATEMENT) this.hasLostStatements = true
          // Nothing was begun. A transaction is over all the same; a statement by itself is sent anew.
          if (isStalePlan(error) && this.#onLost === undefined)
            this.#send(text, parameters, asArrays, UNPREPARED).then(resolve, reject)
          else reject(error)
        }
      )
    })
  }

  /** The time limit of the server counts for each statement by itself, from the end of the one before. */
  #heardOf(statement: Reject): void {
    this.#underWay.delete(statement)
    this.#silence?.refresh()
  }

  /** Rejects as soon as the connection is lost, wherever `body` is then. What `body` does after that comes to nothing. */
  async transaction<T>(body: (transaction: TransactionRunner) => Promise<T>): Promise<T> {
    const lost = Promise.withResolvers<never>()
    lost.promise.catch(() => {})
    this.#onLost = lost.reject
    try {
      return await Promise.race([new Transaction(this).run(body), lost.promise])
    } finally {
      this.#onLost = undefined
    }
  }

  /** Says goodbye, having waited for what is under way, though no longer than that. */
  end(timeoutSeconds: number): Promise<void> {
    return this.#session.sql.end({ timeout: timeoutSeconds })
  }

  /** For a connection of which it is not known what state it is in. */
  destroy(): void {
    this.#session.destroy()
  }

  /** A peer that vanished without a word leaves a statement waiting for ever. */
  #watchForSilence(statementTimeout: number): NodeJS.Timeout | undefined {
    if (statementTimeout === 0) return undefined
    return setTimeout(() => {
      if (this.#underWay.size > 0) this.#session.destroy()
    }, statementTimeout + ANSWER_GRACE).unref()
  }
}
