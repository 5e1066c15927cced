/** Routes whose handlers use CPU, for any Fastify server. */
import { setTimeout as delay } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'

/** Milliseconds that a handler waits, as for a database. */
const WAIT = 2
/** CPU costs in milliseconds for which there are routes. */
const COSTS = [0.2, 0.5, 2, 10]

/**
 * `/compute/first/2` computes for 2 ms and then waits, `/compute/last/2` waits and then computes, and `/compute/only/2`
 * does not wait. Each is a separate route, as in a real app.
 */
export function addComputing(app: FastifyInstance, config: object = {}): void {
  const perMillisecond = calibrate()
  for (const cost of COSTS) {
    const compute = () => spin(Math.round(cost * perMillisecond))
    app.get(`/compute/first/${cost}`, { config }, async () => {
      const result = compute()
      await delay(WAIT)
      return { result }
    })
    app.get(`/compute/last/${cost}`, { config }, async () => {
      await delay(WAIT)
      return { result: compute() }
    })
    app.get(`/compute/only/${cost}`, { config }, async () => ({ result: compute() }))
  }
}

/** A fixed amount of work, not of time: a process that is not running does none. */
function spin(times: number): number {
  let state = 1
  for (let count = 0; count < times; count++) state = Math.imul(state, 48271) ^ count
  return state
}

/** Iterations per millisecond: the fastest of many runs, to exclude the machine's other load. */
function calibrate(): number {
  const some = 100_000
  let fastest = Number.POSITIVE_INFINITY
  for (let attempt = 0; attempt < 300; attempt++) {
    const began = performance.now()
    spin(some)
    fastest = Math.min(fastest, performance.now() - began)
  }
  return some / fastest
}
