import type { JobQueue } from './port.ts'

const NAME = /^[a-z][a-z0-9-]{0,49}$/
const MAX_TIMEOUT = 23 * 3_600

/** @throws Error that names the invalid queue and what is wrong with it */
export function checkQueues(queues: readonly JobQueue[]): void {
  const names = new Set<string>()
  for (const { name, concurrency, expressConcurrency = 0, timeout, retries, retryDelay } of queues) {
    const complain = (what: string) => {
      throw new Error(`rhone-jobs: queue "${name}": ${what}`)
    }
    if (!NAME.test(name)) complain('its name must consist of lower-case letters, digits and dashes')
    if (names.has(name)) complain('two queues have this name')
    if (!isWhole(concurrency, 1)) complain('concurrency must be a whole number above zero')
    if (!isWhole(expressConcurrency, 0)) complain('expressConcurrency must be a whole number')
    if (!(timeout > 0 && timeout <= MAX_TIMEOUT))
      complain(`timeout must be above zero and at most ${MAX_TIMEOUT} seconds`)
    if (!isWhole(retries, 0)) complain('retries must be a whole number')
    if (!isWhole(retryDelay, 0)) complain('retryDelay must be a whole number of seconds')
    names.add(name)
  }
}

const isWhole = (value: number, minimum: number): boolean => Number.isInteger(value) && value >= minimum
