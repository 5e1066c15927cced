import { setTimeout as delay } from 'node:timers/promises'
import type { AuditRow } from './row.ts'

export interface AuditQueueSettings {
  readonly batchSize: number
  /** Milliseconds for which a row waits for others. */
  readonly flushInterval: number
  /** How many rows wait at most. */
  readonly queueSize: number
  readonly write: (rows: readonly AuditRow[]) => Promise<void>
  readonly onWritten: (rows: readonly AuditRow[]) => void
  /** Called after every failed attempt; `lost` when it was the last one. */
  readonly onFailure: (rows: readonly AuditRow[], error: unknown, lost: boolean) => void
}

export interface AuditQueue {
  push(row: AuditRow): void
  /** Writes what waits. Takes nothing after that. */
  close(): Promise<void>
}

const ATTEMPTS = 3
const RETRY_AFTER = 1_000

/** Writes rows in batches, independently of their requests, so that a client that hangs up loses no row. */
export function createAuditQueue(settings: AuditQueueSettings): AuditQueue {
  const { batchSize, flushInterval, queueSize, write, onWritten, onFailure } = settings
  const waiting: AuditRow[] = []
  const closing = new AbortController()
  let timer: NodeJS.Timeout | undefined
  let running: Promise<void> | undefined

  function push(row: AuditRow): void {
    if (closing.signal.aborted || waiting.length >= queueSize) {
      onFailure([row], new Error('the audit queue is closed or full'), true)
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
    })
    return running
  }

  async function drain(): Promise<void> {
    while (waiting.length > 0) await writeBatch(waiting.splice(0, batchSize))
  }

  async function writeBatch(rows: readonly AuditRow[]): Promise<void> {
    for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
      try {
        await write(rows)
        return onWritten(rows)
      } catch (error) {
        const isLast = attempt === ATTEMPTS || closing.signal.aborted
        onFailure(rows, error, isLast)
        if (isLast) return
        await pause()
      }
    }
  }

  /** Ends early when the app closes. */
  async function pause(): Promise<void> {
    await delay(RETRY_AFTER, undefined, { ref: false, signal: closing.signal }).catch(() => {})
  }

  async function close(): Promise<void> {
    closing.abort()
    await flush()
  }

  return { push, close }
}
