/** Routes whose handlers use CPU, for any Fastify server. */
import { createHash } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'

/** Milliseconds that a handler waits, as for a database. */
const WAIT = 2
/** CPU costs in milliseconds for which there are routes. */
const COSTS = [0.2, 0.5, 2, 10]
/** Takes about five microseconds. */
const BLOCK = Buffer.alloc(8_192)

/**
 * `/compute/first/2` computes for 2 ms and then waits, `/compute/last/2` waits and then computes, and `/compute/only/2`
 * does not wait. Each is a separate route, as in a real app.
 */
export function addComputing(app: FastifyInstance, config: object = {}): void {
  const perMillisecond = calibrate()
  for (const cost of COSTS) {
    const compute = () => digest(Math.round(cost * perMillisecond))
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

/**
 * A fixed amount of work, not of time: a process that is not running does none. In native code, because V8 compiles a
 * loop anew now and then, and the same one then takes a third of the time, or three times as long.
 */
function digest(blocks: number): string {
  const hash = createHash('sha256')
  for (let count = 0; count < blocks; count++) hash.update(BLOCK)
  return hash.digest('hex')
}

/** Blocks per millisecond: the fastest of many runs, to exclude the machine's other load. */
function calibrate(): number {
  const some = 100
  let fastest = Number.POSITIVE_INFINITY
  for (let attempt = 0; attempt < 300; attempt++) {
    const began = performance.now()
    digest(some)
    fastest = Math.min(fastest, performance.now() - began)
  }
  return some / fastest
}
