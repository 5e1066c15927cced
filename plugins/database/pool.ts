import { errors } from '../lib/errors.ts'
import { impairmentOf, type PostgresTarget } from '../lib/postgres.ts'
import type { HostFinding } from './availability.ts'
import type { ConnectionSettings, PgConnection } from './connection.ts'
import { Connector } from './connector.ts'
import { asAppError } from './failures.ts'
import type { PoolStats } from './port.ts'
import { ReadBatch, type Work } from './shared-reads.ts'
import { WaitingLine } from './waiting-line.ts'

export interface PoolSettings {
  max: number
  /** Milliseconds that an operation waits for a connection, whether busy or still opening. */
  queueTimeout: number
  maxQueue: number
  /** Reads that may be pipelined on one connection. */
  pipeline: number
  /** Seconds. */
  idleTimeout: number
  maxLifetime: number
  connection: ConnectionSettings
  /** Where each connection goes; default: the target of `connection`. Rejects while there is no allowed target. */
  locate?: (() => Promise<PostgresTarget>) | undefined
  /** A connection was opened. */
  onOpen: (isReadOnly: boolean) => void
  /** A connection could not be opened, or a statement failed because the database did not accept it. */
  onFailure: (finding: HostFinding, reason: unknown) => void
  /** A connection was lost. */
  onLost: () => void
  /** Connections go through a pooler, with or without prepared statements. */
  onPooler: (isPrepared: boolean) => void
}

/** Milliseconds after a failed connection attempt without another one; operations that need one fail immediately. */
const RETRY_PAUSE = 50
/** Minimum lifetime of a connection that turns out to be read-only, in milliseconds. */
const READ_ONLY_LIFE = 1_000
const MAX_REAP_INTERVAL = 10_000

/** What a waiter gets: a connection of its own, or one shared with other reads. */
interface Lease {
  readonly connection: PgConnection
  readonly batch?: ReadBatch
}

/**
 * Lends connections. Waiting is bounded in time and in number, and the longest waiter is served first. The most
 * recently used connection is lent first, so that surplus connections grow idle and are closed.
 *
 * Reads issued in the same turn of the event loop share a connection, up to a limit: they are written and answered
 * together, for a fraction of the system calls. The cost is that a read may wait behind a slow one; after a moment it
 * also runs on another connection, and the first result counts.
 */
export class Pool {
  readonly #settings: PoolSettings
  readonly #connections = new Set<PgConnection>()
  readonly #idle: PgConnection[] = []
  readonly #line: WaitingLine<Lease>
  readonly #reaper: NodeJS.Timeout
  readonly #connector: Connector
  #opening = 0
  #batch: ReadBatch | undefined
  #failure: { reason: unknown; until: number } | undefined
  #ending = false

  constructor(settings: PoolSettings) {
    this.#settings = settings
    this.#line = new WaitingLine(settings.queueTimeout, busy)
    this.#connector = new Connector(settings.connection, settings.onPooler, settings.locate)
    const interval = Math.min(settings.idleTimeout * 500, MAX_REAP_INTERVAL)
    this.#reaper = setInterval(() => this.#reap(), interval).unref()
  }

  get stats(): PoolStats {
    const idle = this.#idle.length
    return { inUse: this.#connections.size - idle, idle, waiting: this.#line.length }
  }

  /** Runs `work` on a connection of its own. Rejects with an error that a client may see, or the driver's own. */
  run<T>(work: Work<T>): Promise<T> {
    const connection = this.#take()
    return connection === undefined ? this.#useNext(work, false) : this.#use(connection, work)
  }

  /** Like `run`, for a read that may be repeated, on a connection that other reads may be using. */
  read<T>(work: Work<T>): Promise<T> {
    if (this.#settings.pipeline === 1) return this.run(work)
    const batch = this.#batch ?? this.#openBatch()
    if (batch === undefined) return this.#useNext(work, true)
    batch.connection.holders++
    const result = batch.join(this.#use(batch.connection, work), work)
    if (batch.size === this.#settings.pipeline) this.#batch = undefined
    return result
  }

  async #useNext<T>(work: Work<T>, shares: boolean): Promise<T> {
    const { connection, batch } = await this.#wait(shares)
    const result = this.#use(connection, work)
    return batch === undefined ? result : batch.join(result, work)
  }

  /** Not an async function, which would create two more promises per query. */
  #use<T>(connection: PgConnection, work: Work<T>): Promise<T> {
    return work(connection).then(
      result => {
        this.#release(connection)
        return result
      },
      error => {
        this.#examine(connection, error)
        this.#release(connection)
        throw asAppError(error) ?? error
      }
    )
  }

  /** Derives the state of the connection and of the database from a statement's error. */
  #examine(connection: PgConnection, error: unknown): void {
    const impairment = impairmentOf(error)
    if (impairment !== undefined) this.#settings.onFailure(impairment, error)
    // Other connections may be writable. A new read-only one is kept for a moment, to avoid reconnecting constantly.
    if (impairment === 'read_only' && performance.now() - connection.openedAt > READ_ONLY_LIFE)
      connection.isSpent = true
  }

  #release(connection: PgConnection): void {
    if (--connection.holders === 0) this.#giveBack(connection)
  }

  /** Waiters go first: no batch is opened while there are any. */
  #openBatch(): ReadBatch | undefined {
    const connection = this.#line.length === 0 ? this.#take() : undefined
    if (connection === undefined) return undefined
    connection.holders--
    const batch = this.#batchOn(connection)
    this.#batch = batch
    setImmediate(() => {
      if (this.#batch === batch) this.#batch = undefined
    })
    return batch
  }

  #batchOn(connection: PgConnection): ReadBatch {
    return new ReadBatch(connection, work => this.run(work))
  }

  /** Waits up to `timeoutSeconds` for operations in flight, then closes all connections. */
  async end(timeoutSeconds: number): Promise<void> {
    this.#ending = true
    clearInterval(this.#reaper)
    this.#line.dismiss(stopping())
    await Promise.all([...this.#connections].map(connection => connection.end(timeoutSeconds)))
  }

  /** Opens connections with these credentials from now on, and retires the others as they fall idle. */
  retarget(target: PostgresTarget): void {
    this.#connector.retarget(target)
    this.#failure = undefined
    this.renew()
  }

  /** Drops all connections, including those in use. Waiters keep waiting. */
  cut(): void {
    const dropped = [...this.#connections]
    this.#connections.clear()
    this.#idle.length = 0
    for (const connection of dropped) connection.destroy()
    this.#grow()
  }

  /** Rejects all waiters. */
  dismiss(reason: unknown): void {
    this.#line.dismiss(unreachable(reason))
  }

  /** Replaces all current connections; those in use are replaced when they are returned. */
  renew(): void {
    for (const connection of this.#connections) connection.isSpent = true
    for (const connection of this.#idle.splice(0)) this.#retire(connection)
  }

  #take(): PgConnection | undefined {
    let connection = this.#idle.pop()
    while (connection?.closed) connection = this.#idle.pop()
    if (connection !== undefined) connection.holders = 1
    return connection
  }

  #wait(shares: boolean): Promise<Lease> {
    const refusal = this.#refusal()
    if (refusal !== undefined) return Promise.reject(refusal)

    const waiting = this.#line.join(shares)
    this.#grow()
    return waiting
  }

  #refusal(): Error | undefined {
    if (this.#ending) return stopping()
    if (this.#line.length >= this.#settings.maxQueue) return busy()
    if (this.#failure === undefined || this.#connections.size > 0 || performance.now() >= this.#failure.until) return
    return unreachable(this.#failure.reason)
  }

  #grow(): void {
    const { max } = this.#settings
    while (this.#line.length > this.#opening && this.#connections.size + this.#opening < max) void this.#open()
  }

  async #open(): Promise<void> {
    this.#opening++
    try {
      const connection = await this.#connector.open(opened => this.#forget(opened))
      this.#opening--
      this.#failure = undefined
      this.#settings.onOpen(connection.isReadOnly)
      if (this.#ending) await connection.end(0)
      else if (connection.closed) this.#grow()
      else {
        this.#connections.add(connection)
        this.#lend(connection)
      }
    } catch (reason) {
      this.#opening--
      this.#failure = { reason, until: performance.now() + RETRY_PAUSE }
      this.#settings.onFailure('unreachable', reason)
      // Connections in use will still serve the waiters, for example if the server has reached its limit.
      if (this.#connections.size === 0) this.#line.dismiss(unreachable(reason))
    }
  }

  #giveBack(connection: PgConnection): void {
    if (this.#batch?.connection === connection) this.#batch = undefined
    connection.usedAt = performance.now()
    // A pooler switched it to another server session, and will do so to the others.
    if (connection.hasLostStatements && this.#connector.stopPreparing()) this.renew()
    if (connection.closed) this.#forget(connection)
    else if (connection.isSpent || this.#isOld(connection)) this.#retire(connection)
    else this.#lend(connection)
  }

  /** Lends to the first waiter, or to as many of the first as can share; idle if there are no waiters. */
  #lend(connection: PgConnection): void {
    connection.holders = 0
    const lease = this.#line.firstShares ? { connection, batch: this.#batchOn(connection) } : { connection }
    const most = this.#line.firstShares ? this.#settings.pipeline : 1
    do if (this.#line.serve(lease)) connection.holders++
    while (this.#line.firstShares && connection.holders < most)
    if (connection.holders === 0) this.#idle.push(connection)
  }

  /** Called for every closed connection, including retired ones. */
  #forget(connection: PgConnection): void {
    if (!this.#connections.delete(connection)) return
    const at = this.#idle.indexOf(connection)
    if (at >= 0) this.#idle.splice(at, 1)
    if (this.#ending) return
    this.#settings.onLost()
    this.#grow()
  }

  #retire(connection: PgConnection): void {
    this.#connections.delete(connection)
    void connection.end(1)
    this.#grow()
  }

  #reap(): void {
    const now = performance.now()
    const isDue = (connection: PgConnection) =>
      now - connection.usedAt > this.#settings.idleTimeout * 1_000 || this.#isOld(connection)
    for (const connection of this.#idle.filter(isDue)) {
      this.#idle.splice(this.#idle.indexOf(connection), 1)
      this.#retire(connection)
    }
  }

  #isOld(connection: PgConnection): boolean {
    return performance.now() - connection.openedAt > this.#settings.maxLifetime * 1_000 * connection.lifeShare
  }
}

const busy = () => errors.unavailable(1, 'The database is busy')
const stopping = () => errors.unavailable(1, 'The server is stopping')
const unreachable = (reason: unknown) => errors.unavailable(1, 'The database cannot be reached', reason)
