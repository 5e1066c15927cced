/** Who can be charged for CPU. */
export interface Account {
  /** CPU that has been charged, in milliseconds. */
  cpu: number
  /** What a request of this kind is known to cost, in milliseconds. */
  readonly expected: number
}

/**
 * Charges the time of the event loop to the requests that use it. The loop does one thing at a time, so the time between
 * two events belongs to the request that the first one began or the second one ended: a request that has just started runs
 * until the next event, and one that sends its reply has run since the last.
 *
 * All times are milliseconds in which the loop was busy.
 */
export class CpuLedger {
  #running: Account | undefined
  #since = 0

  /** A request starts. */
  started(account: Account, now: number): void {
    this.interrupted(now)
    this.#running = account
  }

  /** Something else is done. */
  interrupted(now: number): void {
    if (this.#running !== undefined) this.#running.cpu += now - this.#since
    this.#running = undefined
    this.#since = now
  }

  /** A request has sent its reply. */
  replied(account: Account, now: number): void {
    const used = now - this.#since
    const running = this.#running
    this.#running = undefined
    this.#since = now
    if (running === undefined || running === account) account.cpu += used
    else {
      // One had started before the other went on: both have run since.
      const part = account.expected / (account.expected + running.expected)
      account.cpu += part * used
      running.cpu += (1 - part) * used
    }
  }
}
