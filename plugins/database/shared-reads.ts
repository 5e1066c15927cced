import { isUnreachable } from '../lib/postgres.ts'
import { Bag, type Member } from './bag.ts'
import type { PgConnection } from './connection.ts'

/** Milliseconds that a read waits behind others before it also runs on another connection. */
const RESCUE_AFTER = 50

/** What to do for a read that waits. */
interface Rescue extends Member {
  run(): void
}

export type Work<T> = (connection: PgConnection) => Promise<T>

/** Reads pipelined on one connection. */
export class ReadBatch {
  readonly connection: PgConnection
  readonly #runElsewhere: <T>(work: Work<T>) => Promise<T>
  readonly #rescues = new Bag<Rescue>()
  #size = 0

  /** @param runElsewhere runs a read on a connection of its own */
  constructor(connection: PgConnection, runElsewhere: <T>(work: Work<T>) => Promise<T>) {
    this.connection = connection
    this.#runElsewhere = runElsewhere
  }

  get size(): number {
    return this.#size
  }

  /**
   * The result of a read in flight on the connection. The first read waits for nothing; each of the others also runs
   * elsewhere if it has to wait, and the first result counts.
   */
  join<T>(result: Promise<T>, work: Work<T>): Promise<T> {
    return ++this.#size === 1 ? result : this.#orElsewhere(result, work)
  }

  /**
   * A failure elsewhere, or no connection there, decides nothing: the read's own connection may still answer. Only if
   * that connection is lost does the run elsewhere decide.
   */
  #orElsewhere<T>(own: Promise<T>, work: Work<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      let isSettled = false
      let elsewhere: Promise<void> | undefined
      const rescue: Rescue = {
        place: 0,
        run: () => {
          const again: Work<T> = async connection => (isSettled ? own : work(connection))
          elsewhere = this.#runElsewhere(again).then(resolve, () => {})
        }
      }
      this.#schedule(rescue)
      own.then(
        rows => {
          isSettled = true
          this.#rescues.remove(rescue)
          resolve(rows)
        },
        error => {
          this.#rescues.remove(rescue)
          if (elsewhere !== undefined && isUnreachable(error)) void elsewhere.then(() => reject(error))
          else {
            isSettled = true
            reject(error)
          }
        }
      )
    })
  }

  #schedule(rescue: Rescue): void {
    if (this.#rescues.size === 0) setTimeout(runAll, RESCUE_AFTER, this.#rescues).unref()
    this.#rescues.add(rescue)
  }
}

function runAll(rescues: Bag<Rescue>): void {
  for (const rescue of rescues.all()) rescue.run()
}
