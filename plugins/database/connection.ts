import type { Sql, TransactionSql } from 'postgres'
import type { PostgresTarget } from '../lib/postgres.ts'
import { ask, connectionClosed, openSession, type Session } from '../lib/postgres-session.ts'

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

export interface Conversions {
  parsers: Record<string, unknown>
  serializers: Record<string, unknown>
}

/** Runs statements, on a connection or in a transaction on it. */
export interface Runner {
  query(text: string, parameters: unknown[], asArrays: boolean): Promise<unknown>
}

export interface TransactionRunner extends Runner {
  savepoint<T>(body: (inner: TransactionRunner) => Promise<T>): Promise<T>
}

/** How much later than the server's own time limit its answer may come before the server is taken for gone. */
const ANSWER_GRACE = 1_000
/** Statements of one transaction that may be under way at once. */
const PIPELINE = 16

/** One connection of the pool, from its opening to its end. */
export class Connection implements Runner {
  /** When it was last given back, by `performance.now()`. */
  usedAt = performance.now()
  readonly openedAt = this.usedAt
  /** Its part of the longest life, so that connections opened together do not end together. */
  readonly lifeShare = 0.8 + 0.2 * Math.random()
  readonly #session: Session
  readonly #preparation: { prepare: boolean; simple?: boolean }
  readonly #silence: NodeJS.Timeout | undefined
  #underWay = 0
  #closed = false
  #onLost: ((reason: Error) => void) | undefined

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
        onClose(this)
      }
    })
    const { options } = this.#session.sql
    Object.assign(options.parsers, settings.conversions.parsers)
    Object.assign(options.serializers, settings.conversions.serializers)
    // Unprepared, a statement with parameters takes two round trips; without any, it takes one either way.
    this.#preparation = settings.prepare ? { prepare: true, simple: false } : { prepare: false }
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

  async query(text: string, parameters: unknown[], asArrays: boolean): Promise<unknown> {
    this.#expectAnswer()
    try {
      return await new Promise((resolve, reject) => {
        // The driver forgets what was sent between the error of a socket and its end.
        this.#onLost = reject
        this.#send(this.#session.sql, text, parameters, asArrays).then(resolve, reject)
      })
    } finally {
      this.#underWay--
      this.#onLost = undefined
    }
  }

  /**
   * Rejects as soon as the connection is lost, wherever `body` is then. What `body` does after that comes to nothing:
   * the driver would send it, and its COMMIT, to a socket that is not there, which ends the process.
   */
  async transaction<T>(body: (transaction: TransactionRunner) => Promise<T>): Promise<T> {
    const lost = Promise.withResolvers<never>()
    lost.promise.catch(() => {})
    this.#onLost = lost.reject
    try {
      const { sql } = this.#session
      return await Promise.race([this.#bracket(sql.begin.bind(sql), body, lost.promise), lost.promise])
    } finally {
      this.#onLost = undefined
    }
  }

  /** Says goodbye, having waited for what is under way, though no longer than that. */
  end(timeoutSeconds: number): Promise<void> {
    return this.#session.sql.end({ timeout: timeoutSeconds })
  }

  #within(scope: TransactionSql, lost: Promise<never>): TransactionRunner {
    return {
      query: async (text, parameters, asArrays) => {
        if (this.closed) throw connectionClosed()
        this.#expectAnswer()
        try {
          return await Promise.race([this.#send(scope, text, parameters, asArrays), lost])
        } finally {
          this.#underWay--
        }
      },
      savepoint: async body => {
        if (this.closed) throw connectionClosed()
        return Promise.race([this.#bracket(scope.savepoint.bind(scope), body, lost), lost])
      }
    }
  }

  /** Runs `body` between the statements that open and close a transaction or a savepoint. */
  async #bracket<T>(
    open: (body: (scope: TransactionSql) => Promise<T>) => Promise<unknown>,
    body: (transaction: TransactionRunner) => Promise<T>,
    lost: Promise<never>
  ): Promise<T> {
    this.#expectAnswer()
    try {
      return (await open(scope => {
        this.#underWay--
        return this.#whileOpen(body(this.#within(scope, lost)))
      })) as T
    } finally {
      this.#underWay--
    }
  }

  #send(sql: Sql | TransactionSql, text: string, parameters: unknown[], asArrays: boolean): PromiseLike<unknown> {
    const query = sql.unsafe(text, parameters as never[], this.#preparation as { prepare: boolean })
    return asArrays ? query.values() : query
  }

  /** Settles as `work` does, but never once the connection is lost. What closes the bracket is sent then. */
  #whileOpen<T>(work: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const andThen =
        <V>(settle: (value: V) => void) =>
        (value: V) => {
          if (this.closed) return
          this.#expectAnswer()
          settle(value)
        }
      work.then(andThen(resolve), andThen(reject))
    })
  }

  #expectAnswer(): void {
    this.#underWay++
    this.#silence?.refresh()
  }

  /** A peer that vanished without a word leaves a statement waiting for ever. */
  #watchForSilence(statementTimeout: number): NodeJS.Timeout | undefined {
    if (statementTimeout === 0) return undefined
    return setTimeout(() => {
      if (this.#underWay > 0) this.#session.destroy()
    }, statementTimeout + ANSWER_GRACE).unref()
  }
}
