import type { PostgresTarget } from '../lib/postgres.ts'
import { ask, connectionClosed, openSession, type Session } from '../lib/postgres-session.ts'
import type { Conversions, ExclusiveConnection, TransactionRunner } from './port.ts'
import { Transaction } from './transaction.ts'

export interface ConnectionSettings {
  target: PostgresTarget
  applicationName: string
  prepare: boolean
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
  readonly #session: Session
  readonly #preparation: { prepare: boolean }
  readonly #silence: NodeJS.Timeout | undefined
  /** What is told when the connection is lost: the driver forgets what was sent between the error of a socket and its end. */
  readonly #underWay = new Set<Reject>()
  #onLost: Reject | undefined
  #closed = false

  private constructor(settings: ConnectionSettings, onClose: (connection: Connection) => void) {
    this.#session = openSession(settings.target, {
      applicationName: settings.applicationName,
      connectTimeout: settings.connectTimeout,
      prepare: settings.prepare,
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
    // Unprepared, a statement with parameters takes two round trips; without any, it takes one either way.
    this.#preparation = settings.prepare
      ? ({ prepare: true, simple: false } as { prepare: boolean })
      : { prepare: false }
    this.#silence = this.#watchForSilence(settings.statementTimeout)
  }

  static async open(settings: ConnectionSettings, onClose: (connection: Connection) => void): Promise<Connection> {
    const connection = new Connection(settings, onClose)
    await ask(connection.#session, 'select 1', settings.connectTimeout * 1_000)
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
      const results = (await this.#send(text, [], false, { prepare: false })) as unknown[]
      return results.flat()
    } catch (error) {
      if (!this.closed) await this.query('rollback', [], false).catch(() => this.destroy())
      throw error
    }
  }

  #send(text: string, parameters: unknown[], asArrays: boolean, preparation: { prepare: boolean }): Promise<unknown> {
    if (this.closed) return Promise.reject(connectionClosed())
    const underWay = this.#underWay
    if (underWay.size === 0) this.#silence?.refresh()
    return new Promise((resolve, reject) => {
      underWay.add(reject)
      const query = this.#session.sql.unsafe(text, parameters as never[], preparation)
      ;(asArrays ? query.values() : query).then(
        rows => {
          this.#heardOf(reject)
          resolve(rows)
        },
        error => {
          this.#heardOf(reject)
          reject(error)
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
