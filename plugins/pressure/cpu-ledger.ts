/** An account to which CPU is charged. */
export interface Account {
  /** CPU charged so far, in milliseconds. */
  cpu: number
  /** Known cost of a request of this kind, in milliseconds. */
  readonly expected: number
}

/**
 * Charges event-loop time to the requests that use it. The loop does one thing at a time, so the time between two
 * events belongs to the request that the first event started or the second one ended: a request that has just started
 * runs until the next event, and one that sends its reply has been running since the last.
 *
 * All times are milliseconds of busy loop time.
 */
export class CpuLedger {
  #running: Account | undefined
  #since = 0

  /** A request starts. */
  started(account: Account, now: number): void {
    this.interrupted(now)
    this.#running = account
  }

  /** Other work begins. */
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
      // One had started before the other continued: both have run since.
      const part = account.expected / (account.expected + running.expected)
      account.cpu += part * used
      running.cpu += (1 - part) * used
    }
  }
}
