import { isUnreachable } from '../lib/postgres.ts'
import type { Connection } from './connection.ts'

/** A read that has waited this long behind others, in milliseconds, is run on another connection as well. */
const RESCUE_AFTER = 50

export type Work<T> = (connection: Connection) => Promise<T>

/** Reads that are sent over one connection without waiting for each other's results. */
export class ReadBatch {
  readonly connection: Connection
  readonly #runElsewhere: <T>(work: Work<T>) => Promise<T>
  readonly #rescues = new Set<() => void>()
  #size = 0

  /** @param runElsewhere runs a read on a connection of its own */
  constructor(connection: Connection, runElsewhere: <T>(work: Work<T>) => Promise<T>) {
    this.connection = connection
    this.#runElsewhere = runElsewhere
  }

  get size(): number {
    return this.#size
  }

  /**
   * The result of a read that is under way on the connection. The first has nothing before it; each of the others, if it
   * has to wait, is run elsewhere too, and the first result counts.
   */
  join<T>(result: Promise<T>, work: Work<T>): Promise<T> {
    return ++this.#size === 1 ? result : this.#orElsewhere(result, work)
  }

  /**
   * A run elsewhere that fails, or gets no connection, decides nothing: the read's own connection may yet answer. It is
   * the other way round only when that connection is lost.
   */
  #orElsewhere<T>(own: Promise<T>, work: Work<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      let isSettled = false
      let elsewhere: Promise<void> | undefined
      const rescue = () => {
        const again: Work<T> = async connection => (isSettled ? own : work(connection))
        elsewhere = this.#runElsewhere(again).then(resolve, () => {})
      }
      this.#schedule(rescue)
      own.then(
        rows => {
          isSettled = true
          this.#rescues.delete(rescue)
          resolve(rows)
        },
        error => {
          this.#rescues.delete(rescue)
          if (elsewhere !== undefined && isUnreachable(error)) void elsewhere.then(() => reject(error))
          else {
            isSettled = true
            reject(error)
          }
        }
      )
    })
  }

  #schedule(rescue: () => void): void {
    if (this.#rescues.size === 0) setTimeout(runAll, RESCUE_AFTER, this.#rescues).unref()
    this.#rescues.add(rescue)
  }
}

function runAll(rescues: ReadonlySet<() => void>): void {
  for (const rescue of rescues) rescue()
}
