import { type PostgresTarget, sqlState } from '../lib/postgres.ts'
import { ask, connectionClosed, openSession, type Session } from '../lib/postgres-session.ts'
import { Bag, type Member } from './bag.ts'
import type { Conversions, ExclusiveConnection, TransactionRunner } from './port.ts'
import { isStalePlan, refuseRepeat } from './stale-plan.ts'
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

interface Preparation {
  prepare: boolean
  simple?: boolean
}

const PREPARED: Preparation = { prepare: true, simple: false }
/** An unprepared statement with parameters takes two round trips; one without takes a single round trip either way. */
const UNPREPARED: Preparation = { prepare: false }

type Reject = (reason: Error) => void

/** A statement that was sent and not answered. */
class Statement implements Member {
  place = 0
  readonly reject: Reject

  constructor(reject: Reject) {
    this.reject = reject
  }
}

/** A query of the driver, as far as its rows are concerned. */
interface Rows {
  values(): { forEach(onRow: (row: unknown) => void): unknown }
}

/**
 * Collects a query's rows, as arrays, outside of the driver. Its own array of rows was created when the query before
 * ended, so V8 has often moved it to the old generation by now, and would then keep and copy all rows of each query
 * until a full collection. The driver also keeps the last query of a queue that ran empty, hence {@link take}.
 */
class RowCollector {
  #rows: unknown[] = []

  constructor(query: Rows) {
    query.values().forEach(row => void this.#rows.push(row))
  }

  take(): unknown[] {
    const rows = this.#rows
    this.#rows = []
    return rows
  }
}

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
  #preparation: Preparation
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
        for (const { reject } of this.#underWay.all()) reject(connectionClosed())
        onClose(this)
      }
    })
    const { options } = this.#session.sql
    Object.assign(options.parsers, settings.conversions.parsers)
    Object.assign(options.serializers, settings.conversions.serializers)
    this.#preparation = settings.prepare === false ? UNPREPARED : PREPARED
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
    if (settings.prepare === 'auto' && connection.isPooled) connection.#preparation = UNPREPARED
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
    return this.#send(text, [], false, UNPREPARED)
  }

  /** Runs several statements in one text, which may include transactions. One that fails midway is rolled back. */
  async script(text: string): Promise<unknown[]> {
    try {
      const results = (await this.#send(text, [], false, UNPREPARED)) as unknown[]
      return results.flat()
    } catch (error) {
      if (!this.closed) await this.command('rollback').catch(() => this.destroy())
      throw error
    }
  }

  #send(text: string, parameters: unknown[], asArrays: boolean, preparation: Preparation): Promise<unknown> {
    if (this.closed) return Promise.reject(connectionClosed())
    if (this.#underWay.size === 0) this.#silence?.refresh()
    return new Promise((resolve, reject) => {
      const statement = new Statement(reject)
      this.#underWay.add(statement)
      const query = this.#session.sql.unsafe(text, parameters as never[], preparation as { prepare: boolean })
      if (preparation.prepare) refuseRepeat(query)
      const collector = asArrays ? new RowCollector(query) : undefined
      query.then(
        result => {
          this.#completed(statement)
          resolve(collector === undefined ? result : collector.take())
        },
        error => {
          this.#completed(statement)
          if (sqlState(error) === LOST_STATEMENT) this.hasLostStatements = true
          // Nothing was started. A transaction is over anyway; a single statement is sent again.
          if (isStalePlan(error) && this.#onLost === undefined)
            this.#send(text, parameters, asArrays, UNPREPARED).then(resolve, reject)
          else reject(error)
        }
      )
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
