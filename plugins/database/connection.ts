import { type PostgresTarget, sqlState } from '../lib/postgres.ts'
import { ask, connectionClosed, openSession, type Session } from '../lib/postgres-session.ts'
import { Bag } from './bag.ts'
import type { Conversions, ExclusiveConnection, TransactionRunner } from './port.ts'
import { isStalePlan } from './stale-plan.ts'
import {
  directSend,
  documentedSend,
  PREPARED,
  type Preparation,
  type Send,
  Statement,
  unpreparedWith
} from './statement.ts'
import { Transaction } from './transaction.ts'

export interface ConnectionSettings {
  target: PostgresTarget
  applicationName: string
  /** `auto`: only where no pooler stands between us and the server. */
  prepare: boolean | 'auto'
  /** Seconds. */
  connectTimeout: number
  /** Limits that the server enforces, in milliseconds. */
  parameters: Record<string, number> | undefined
  /** Milliseconds after which the server cancels a statement; 0 for never. */
  statementTimeout: number
  /** Whether statements are handed to the driver without a query of its own ({@link Statement}). */
  isDirect: boolean
  /** The conversions between PostgreSQL and JavaScript types, as drizzle changes the driver's. */
  conversions: Conversions
  /** Checks the server when a connection opens; by default only what every connection needs. */
  admission?: Admission | undefined
}

/** Decides whether a new connection may be used, beyond the checks that every connection passes. */
export interface Admission {
  /** Columns of a select list, beginning with a comma. */
  readonly columns: string
  /** @throws Error if the connection must not be used */
  readonly admit: (row: Readonly<Record<string, unknown>>) => void
}

/** How long after the server's own time limit to wait before the server counts as gone, in milliseconds. */
const ANSWER_GRACE = 1_000
/** Statements in flight at once; more wait in the driver. */
const PIPELINE = 16
/** SQLSTATE of a prepared statement that the server does not know. */
const LOST_STATEMENT = '26000'

/** Sent when a connection opens. */
const PROBE = `select pg_backend_pid() as pid, current_setting('transaction_read_only') = 'on' as "isReadOnly"`

/** `state` is what the server told the driver at connect time. */
type ProbeResult = { 0: { pid: number; isReadOnly: boolean } & Record<string, unknown>; state: { pid: number } }

type Reject = (reason: Error) => void

/** One pooled connection, from open to close. */
export class PgConnection implements ExclusiveConnection {
  /** When it was last returned, as `performance.now()`. */
  usedAt = performance.now()
  /** Operations that currently hold it. */
  holders = 0
  readonly openedAt = this.usedAt
  /** Share of the maximum lifetime, randomized so that connections opened together do not expire together. */
  readonly lifeShare = 0.8 + 0.2 * Math.random()
  /** Whether to close it as soon as no operation holds it. */
  isSpent = false
  /** Whether a pooler stands between us and the server; it may route the next transaction to another server session. */
  isPooled = false
  /** Whether the server has lost a statement prepared here. */
  hasLostStatements = false
  /** Whether the server was read-only when the connection was opened. */
  isReadOnly = false
  readonly #session: Session
  readonly #dispatch: Send
  /** Undefined where statements are not prepared. */
  #preparation: Preparation | undefined
  readonly #silence: NodeJS.Timeout | undefined
  /** Rejected when the connection is lost: the driver forgets what is sent between a socket error and the close. */
  readonly #underWay = new Bag<Statement>()
  #onLost: Reject | undefined
  #closed = false

  private constructor(settings: ConnectionSettings, onClose: (connection: PgConnection) => void) {
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
        for (const statement of this.#underWay.all()) statement.reject(connectionClosed())
        onClose(this)
      }
    })
    const { options } = this.#session.sql
    Object.assign(options.parsers, settings.conversions.parsers)
    Object.assign(options.serializers, settings.conversions.serializers)
    this.#dispatch = (settings.isDirect ? directSend : documentedSend)(this.#session.sql)
    this.#preparation = settings.prepare === false ? undefined : PREPARED
    this.#silence = this.#watchForSilence(settings.statementTimeout)
  }

  static async open(settings: ConnectionSettings, onClose: (connection: PgConnection) => void): Promise<PgConnection> {
    const connection = new PgConnection(settings, onClose)
    const { admission } = settings
    const probe = admission === undefined ? PROBE : PROBE + admission.columns
    const answer = await ask(connection.#session, probe, settings.connectTimeout * 1_000)
    const { 0: row, state } = answer as ProbeResult
    try {
      admission?.admit(row)
    } catch (error) {
      connection.destroy()
      throw error
    }
    connection.isReadOnly = row.isReadOnly
    // A pooler reports a made-up process id to its clients.
    connection.isPooled = row.pid !== state.pid
    if (settings.prepare === 'auto' && connection.isPooled) connection.#preparation = undefined
    return connection
  }

  get closed(): boolean {
    return this.#closed || this.#session.destroyed
  }

  /** Statements sent without awaiting each other's results run in the order they were sent. */
  query(text: string, parameters: unknown[], asArrays: boolean): Promise<unknown> {
    return this.#send(text, parameters, asArrays, this.#preparation)
  }

  /** The same for a text without parameters or rows, such as COMMIT: as a simple query, it takes fewer messages. */
  command(text: string): Promise<unknown> {
    return this.#send(text, [], false)
  }

  /** Runs several statements in one text, which may include transactions. One that fails midway is rolled back. */
  async script(text: string): Promise<unknown[]> {
    try {
      const results = (await this.#send(text, [], false)) as unknown[]
      return results.flat()
    } catch (error) {
      if (!this.closed) await this.command('rollback').catch(() => this.destroy())
      throw error
    }
  }

  #send(
    text: string,
    parameters: unknown[],
    asArrays: boolean,
    preparation = unpreparedWith(parameters)
  ): Promise<unknown> {
    if (this.closed) return Promise.reject(connectionClosed())
    if (this.#underWay.size === 0) this.#silence?.refresh()
    return new Promise((resolve, reject) => {
      const statement: Statement = new Statement(text, parameters, asArrays, preparation, {
        onRows: rows => {
          this.#completed(statement)
          resolve(rows)
        },
        onError: error => {
          this.#completed(statement)
          if (sqlState(error) === LOST_STATEMENT) this.hasLostStatements = true
          // Nothing was started. A transaction is over anyway; a single statement is sent again, once the driver is done.
          if (isStalePlan(error) && this.#onLost === undefined)
            queueMicrotask(() => this.#send(text, parameters, asArrays).then(resolve, reject))
          else reject(error)
        }
      })
      this.#underWay.add(statement)
      this.#dispatch(statement)
    })
  }

  /** The server's time limit applies to each statement separately, from the end of the previous one. */
  #completed(statement: Statement): void {
    this.#underWay.remove(statement)
    this.#silence?.refresh()
  }

  /** Rejects as soon as the connection is lost, wherever `body` is. What `body` does after that has no effect. */
  async transaction<T>(body: (transaction: TransactionRunner) => Promise<T>): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>()
    this.#onLost = reject
    new Transaction(this).run(body).then(resolve, reject)
    try {
      return await promise
    } finally {
      this.#onLost = undefined
    }
  }

  /** Closes gracefully: waits for statements in flight, at most `timeoutSeconds`. */
  end(timeoutSeconds: number): Promise<void> {
    return this.#session.sql.end({ timeout: timeoutSeconds })
  }

  /** For a connection in an unknown state. */
  destroy(): void {
    this.#session.destroy()
  }

  /** If the peer vanishes silently, a statement would wait forever. */
  #watchForSilence(statementTimeout: number): NodeJS.Timeout | undefined {
    if (statementTimeout === 0) return undefined
    return setTimeout(() => {
      if (this.#underWay.size > 0) this.#session.destroy()
    }, statementTimeout + ANSWER_GRACE).unref()
  }
}
