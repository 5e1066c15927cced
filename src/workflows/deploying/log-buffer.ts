import { setTimeout as delay } from 'node:timers/promises'
import type { FastifyBaseLogger } from 'fastify'
import { isTransient } from '../../../plugins/lib/postgres.ts'
import { insertAppLogs, type NewAppLog, trimAppLogs } from '../../domain/apps/logs.ts'
import type { Db } from '../../domain/base/db.ts'

const FLUSH_INTERVAL = 200
const BATCH = 500
const MAX_WAITING = 10_000
const MAX_PAUSE = 5_000
/** Lines written between trims of an app's oldest lines. */
const TRIM_AFTER = 1_000

/** Buffers log lines of all apps for the database: batched, ordered and bounded. */
export class LogBuffer {
  readonly #db: Db
  readonly #log: FastifyBaseLogger
  readonly #abandoned: AbortSignal
  readonly #untrimmed = new Map<string, number>()
  #waiting: NewAppLog[] = []
  #timer: NodeJS.Timeout | undefined
  #writing: Promise<void> | undefined
  #room: PromiseWithResolvers<void> | undefined

  /** @param abandoned stops all writes once aborted, since another instance writes from then on */
  constructor(db: Db, log: FastifyBaseLogger, abandoned: AbortSignal) {
    this.#db = db
    this.#log = log
    this.#abandoned = abandoned
    abandoned.addEventListener('abort', () => this.#letIn(), { once: true })
  }

  /** Adds a line once there is room; callers wait while the database is down. */
  async add(line: NewAppLog): Promise<void> {
    while (this.#waiting.length >= MAX_WAITING && !this.#abandoned.aborted) {
      this.#room ??= Promise.withResolvers()
      await this.#room.promise
    }
    this.#waiting.push(line)
    if (this.#waiting.length >= BATCH) this.#write()
    else this.#timer ??= setTimeout(() => this.#write(), FLUSH_INTERVAL).unref()
  }

  /** Settles once the added lines are written, or have failed. */
  async flush(): Promise<void> {
    this.#write()
    await this.#writing
  }

  #write(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#writing ??= this.#writeAll()
      .then(() => this.#trim())
      .catch(error => this.#log.warn({ err: error }, 'old app log lines could not be removed'))
      .finally(() => this.#onWritten())
  }

  /** Lines may have arrived during the last write. */
  #onWritten(): void {
    this.#writing = undefined
    if (this.#waiting.length > 0 && !this.#abandoned.aborted) this.#write()
  }

  async #writeAll(): Promise<void> {
    for (let failures = 0; this.#waiting.length > 0 && !this.#abandoned.aborted; ) {
      const batch = this.#waiting.slice(0, BATCH)
      try {
        await insertAppLogs(this.#db, batch)
        failures = 0
        this.#remove(batch.length)
        this.#count(batch)
      } catch (error) {
        if (isTransient(error)) await this.#pause(failures++)
        else {
          this.#log.error({ err: error, lines: batch.length }, 'app log lines could not be stored')
          this.#remove(batch.length)
        }
      }
    }
  }

  async #pause(failures: number): Promise<void> {
    const milliseconds = Math.min(MAX_PAUSE, FLUSH_INTERVAL * 2 ** failures)
    await delay(milliseconds, undefined, { signal: this.#abandoned, ref: false }).catch(() => {})
  }

  #remove(lines: number): void {
    this.#waiting.splice(0, lines)
    this.#letIn()
  }

  #letIn(): void {
    this.#room?.resolve()
    this.#room = undefined
  }

  #count(batch: readonly NewAppLog[]): void {
    for (const { appId } of batch) this.#untrimmed.set(appId, (this.#untrimmed.get(appId) ?? TRIM_AFTER - 1) + 1)
  }

  async #trim(): Promise<void> {
    for (const [appId, lines] of this.#untrimmed) {
      if (lines < TRIM_AFTER) continue
      await trimAppLogs(this.#db, appId)
      this.#untrimmed.set(appId, 0)
    }
  }
}
