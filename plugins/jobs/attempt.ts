import { setTimeout as delay } from 'node:timers/promises'
import type { FastifyBaseLogger } from 'fastify'
import type { JobTrace, Tracing } from '../lib/tracing-port.ts'
import { open } from './envelope.ts'
import { AttemptEnded, type EndReason } from './failure.ts'
import type { JobContext, JobQueue } from './port.ts'
import type { Claim } from './statements.ts'

/** A job as claimed. */
export interface ClaimedJob extends Claim {
  readonly retryLimit: number
  readonly data: object
}

/** How an attempt ended. An attempt that ends after it was told to stop has not completed, whatever it returns. */
export type Verdict = { completed: true } | { failure: unknown } | { ended: Exclude<EndReason, 'timeout'> }

/** One attempt at a job. */
export class JobAttempt implements Claim {
  readonly name: string
  readonly id: string
  readonly retryCount: number
  readonly isLast: boolean
  readonly log: FastifyBaseLogger
  readonly trace: JobTrace | undefined
  readonly #queue: JobQueue
  readonly #data: object
  readonly #ending = new AbortController()
  #work: Promise<void> | undefined

  constructor(
    queue: JobQueue,
    { id, retryCount, retryLimit, data }: ClaimedJob,
    log: FastifyBaseLogger,
    tracing: Pick<Tracing, 'job'> | undefined
  ) {
    const { content, origin } = open(data)
    const attempt = retryCount + 1
    this.name = queue.name
    this.id = id
    this.retryCount = retryCount
    this.isLast = retryCount >= retryLimit
    this.trace = tracing?.job({ queue: queue.name, id, attempt }, origin)
    const { traceId, spanId, sampled } = this.trace?.trace ?? {}
    this.log = log.child({
      queue: queue.name,
      jobId: id,
      attempt,
      ...(origin?.requestId !== undefined && { requestId: origin.requestId }),
      ...(traceId !== undefined && { traceId, spanId, sampled })
    })
    this.#queue = queue
    this.#data = content
  }

  /** Tells the work to stop. The first reason wins. */
  end(reason: EndReason): void {
    this.#ending.abort(new AttemptEnded(reason))
  }

  /** Resolves when the work is over, or `grace` milliseconds after it was told to stop. */
  async verdict(grace: number): Promise<Verdict> {
    const timeout = setTimeout(() => this.end('timeout'), this.#queue.timeout * 1_000)
    this.#work = this.#run()
    try {
      await Promise.race([this.#work, this.#outOfPatience(grace)])
      return this.#ended() ?? { completed: true }
    } catch (failure) {
      return this.#ended() ?? { failure }
    } finally {
      clearTimeout(timeout)
    }
  }

  /** Resolves when the work has really ended, which may be never. */
  async settled(): Promise<void> {
    await this.#work?.catch(() => {})
  }

  async #run(): Promise<void> {
    const context: JobContext = {
      id: this.id,
      attempt: this.retryCount + 1,
      isLastAttempt: this.isLast,
      signal: this.#ending.signal,
      log: this.log
    }
    const work = () => this.#queue.run(this.#data, context)
    await (this.trace === undefined ? work() : this.trace.run(work))
  }

  #ended(): Verdict | undefined {
    const { reason } = this.#ending.signal
    if (!(reason instanceof AttemptEnded)) return undefined
    return reason.reason === 'timeout' ? { failure: reason } : { ended: reason.reason }
  }

  async #outOfPatience(grace: number): Promise<void> {
    const { signal } = this.#ending
    if (!signal.aborted) await new Promise(resolve => signal.addEventListener('abort', resolve, { once: true }))
    await delay(grace, undefined, { ref: false })
  }
}
