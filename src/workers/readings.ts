import { totalsOf } from '../../plugins/metrics/exposition.ts'

/** How long a scrape waits for the workers, in milliseconds. A worker that hangs counts with its last reading. */
const READ_TIMEOUT = 1_000

export interface Readable {
  /** Requests a reading, which arrives through {@link Readings.note}. */
  read(): void
}

/**
 * The metrics of each worker of an instance, as text. A total never decreases: a worker's latest text stands in for it
 * while it does not answer, and the totals of a worker that has ended are kept.
 */
export class Readings<Worker extends Readable> {
  readonly #latest = new Map<Worker, string>()
  readonly #awaited = new Map<Worker, PromiseWithResolvers<void>>()
  #departed = ''

  /** @returns the texts of all workers except `asking`, whose own text is `text` */
  async collect(asking: Worker, text: string, workers: Iterable<Worker>): Promise<string[]> {
    this.note(asking, text)
    const others = [...workers].filter(worker => worker !== asking)
    await Promise.race([Promise.all(others.map(worker => this.#read(worker))), timeout(READ_TIMEOUT)])
    return [...others.map(worker => this.#latest.get(worker)), this.#departed].filter(known => known !== undefined)
  }

  note(worker: Worker, text: string): void {
    this.#latest.set(worker, text)
    this.#awaited.get(worker)?.resolve()
    this.#awaited.delete(worker)
  }

  depart(worker: Worker): void {
    const last = this.#latest.get(worker)
    if (last !== undefined) this.#departed = totalsOf([this.#departed, last])
    this.#latest.delete(worker)
    this.#awaited.get(worker)?.resolve()
    this.#awaited.delete(worker)
  }

  /** Concurrent scrapes share one reading. */
  #read(worker: Worker): Promise<void> {
    const awaited = this.#awaited.get(worker) ?? Promise.withResolvers<void>()
    if (!this.#awaited.has(worker)) {
      this.#awaited.set(worker, awaited)
      worker.read()
    }
    return awaited.promise
  }
}

function timeout(ms: number): Promise<void> {
  return new Promise(resolve => {
    setTimeout(resolve, ms).unref()
  })
}
