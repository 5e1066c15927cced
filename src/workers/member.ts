import { extname } from 'node:path'
import { Worker } from 'node:worker_threads'
import { programUrl } from '../bundle.ts'
import type { Order, Report, WorkerData } from './messages.ts'

const SOURCE = new URL(`./worker${extname(import.meta.filename)}`, import.meta.url)

export type MemberState = 'starting' | 'listening' | 'serving' | 'leaving'

/** A worker as seen by the primary. */
export class Member {
  readonly #thread: Worker
  readonly #ended = Promise.withResolvers<void>()
  /** Remains valid after the thread has ended. */
  readonly threadId: number
  state: MemberState = 'starting'
  readonly startedAt = performance.now()
  /** Since the last message from it. */
  unansweredPings = 0

  constructor(data: WorkerData, onReport: (report: Report) => void, onError: (error: Error) => void) {
    this.#thread = new Worker(programUrl('worker', SOURCE), { workerData: data, name: 'rhone-worker' })
    this.threadId = this.#thread.threadId
    this.#thread.on('message', report => {
      this.unansweredPings = 0
      onReport(report)
    })
    this.#thread.on('error', onError)
    this.#thread.once('exit', () => this.#ended.resolve())
  }

  get ended(): Promise<void> {
    return this.#ended.promise
  }

  send(order: Order): void {
    this.#thread.postMessage(order)
  }

  read(): void {
    this.send({ type: 'read' })
  }

  ping(): void {
    this.unansweredPings++
    this.send({ type: 'ping' })
  }

  /** Terminates the thread, whatever it is doing. */
  terminate(): void {
    void this.#thread.terminate()
  }
}
