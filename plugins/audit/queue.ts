import { setTimeout as delay } from 'node:timers/promises'
import { sqlState } from '../lib/postgres.ts'
import type { AuditRow } from './row.ts'
import type { AuditSpool } from './spool.ts'

export interface AuditQueueSettings {
  readonly batchSize: number
  /** Milliseconds for which a row waits to be batched with others. */
  readonly flushInterval: number
  /** Maximum number of waiting rows. */
  readonly queueSize: number
  readonly write: (rows: readonly AuditRow[]) => Promise<void>
  /** Takes what cannot be written now. Without it, a batch is dropped after a few attempts. */
  readonly spool: AuditSpool | undefined
  readonly onWritten: (rows: readonly AuditRow[]) => void
  /** Called for each failed attempt, unless the spool already has rows. */
  readonly onFailure: (error: unknown) => void
  readonly onLost: (rows: readonly AuditRow[], error: unknown) => void
}

export interface AuditQueue {
  push(row: AuditRow): void
  /** Writes what an earlier process left in the spool. */
  open(): void
  /** Writes the waiting rows, or leaves them in the spool. Accepts nothing afterwards. */
  close(): Promise<void>
}

const ATTEMPTS = 3
const RETRY_AFTER = 1_000

/** Writes rows in batches, independently of their requests, so that a client that hangs up loses no row. */
export function createAuditQueue(settings: AuditQueueSettings): AuditQueue {
  const { batchSize, flushInterval, queueSize, write, spool, onWritten, onFailure, onLost } = settings
  const waiting: AuditRow[] = []
  const closing = new AbortController()
  let timer: NodeJS.Timeout | undefined
  let running: Promise<void> | undefined
  /** While the spool has rows, new rows queue behind them. */
  let hasSpooled = false
  let replayAt = 0

  function push(row: AuditRow): void {
    if (closing.signal.aborted || waiting.length >= queueSize) {
      onLost([row], new Error('the audit queue is closed or full'))
      return
    }
    waiting.push(row)
    if (waiting.length >= batchSize) flush()
    else timer ??= setTimeout(flush, flushInterval).unref()
  }

  function flush(): Promise<void> {
    clearTimeout(timer)
    timer = undefined
    running ??= drain().finally(() => {
      running = undefined
      // So that the spool is retried even if no new row arrives.
      if (hasSpooled && !closing.signal.aborted) timer ??= setTimeout(flush, RETRY_AFTER).unref()
    })
    return running
  }

  async function drain(): Promise<void> {
    if (hasSpooled && (performance.now() >= replayAt || closing.signal.aborted)) await replay()
    while (waiting.length > 0) {
      const rows = waiting.splice(0, batchSize)
      if (spool === undefined) await writeOrLose(rows)
      else await writeOrSpool(rows, spool)
    }
  }

  async function replay(): Promise<void> {
    replayAt = performance.now() + RETRY_AFTER
    try {
      await spool?.replay(rows =>
        write(rows).then(
          () => onWritten(rows),
          error => {
            if (!isRefusal(error)) throw error
            onLost(rows, error)
          }
        )
      )
      hasSpooled = false
    } catch {
      // Already reported when the first rows went into the spool.
    }
  }

  async function writeOrSpool(rows: readonly AuditRow[], into: AuditSpool): Promise<void> {
    try {
      if (!hasSpooled) {
        await write(rows)
        return onWritten(rows)
      }
    } catch (error) {
      if (isRefusal(error)) return onLost(rows, error)
      onFailure(error)
    }
    try {
      await into.append(rows)
      hasSpooled = true
    } catch (error) {
      onLost(rows, error)
    }
  }

  async function writeOrLose(rows: readonly AuditRow[]): Promise<void> {
    for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
      try {
        await write(rows)
        return onWritten(rows)
      } catch (error) {
        if (attempt === ATTEMPTS || closing.signal.aborted) return onLost(rows, error)
        onFailure(error)
        await pause()
      }
    }
  }

  /** Ends early when the app closes. */
  async function pause(): Promise<void> {
    await delay(RETRY_AFTER, undefined, { ref: false, signal: closing.signal }).catch(() => {})
  }

  function open(): void {
    if (spool === undefined) return
    hasSpooled = true
    void flush()
  }

  async function close(): Promise<void> {
    closing.abort()
    await running
    await flush()
  }

  return { push, open, close }
}

/** Whether the database will never accept these rows: invalid data or a violated constraint. */
const isRefusal = (error: unknown): boolean => /^2[23]/.test(sqlState(error) ?? '')
