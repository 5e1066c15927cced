import { createHash } from 'node:crypto'

/** Returns the first times after `from` that a cron expression matches, in UTC. */
export type Preview = (cron: string, options: { from: Date; count: number; tz: string }) => Date[]

/** A starting instance makes up for a missed time that is no older than this, in milliseconds. */
const CATCH_UP = 10 * 60_000

/** When a queue is due. Every instance has its own schedule, and all compute the same times. */
export class Schedule {
  readonly name: string
  readonly #cron: string
  readonly #preview: Preview
  #next = 0

  /** @throws Error if the cron expression is invalid */
  constructor(name: string, cron: string, preview: Preview) {
    this.name = name
    this.#cron = cron
    this.#preview = preview
    try {
      this.#after(new Date(0))
    } catch (cause) {
      throw new Error(`rhone-jobs: queue "${name}": "${cron}" is not a cron expression`, { cause })
    }
  }

  /** Sends a job for the latest due time. If sending fails, that time is still due on the next call. */
  async turn(now: number, send: (id: string) => Promise<unknown>): Promise<void> {
    if (now < this.#next) return
    const latest = this.#latest(now)
    if (latest !== undefined) await send(idOf(this.name, latest))
    this.#next = this.#after(new Date(now)).getTime()
  }

  #latest(now: number): Date | undefined {
    let latest: Date | undefined
    let time = this.#after(new Date(now - CATCH_UP))
    while (time.getTime() <= now) {
      latest = time
      time = this.#after(time)
    }
    return latest
  }

  #after(from: Date): Date {
    return this.#preview(this.#cron, { from, count: 1, tz: 'UTC' })[0]!
  }
}

/** The same on all instances, so that of their jobs for one time only the first is accepted. */
function idOf(name: string, time: Date): string {
  const hex = createHash('sha256').update(`${name} ${time.toISOString()}`).digest('hex')
  return hex.slice(0, 32).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}
