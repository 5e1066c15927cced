import { setTimeout as delay } from 'node:timers/promises'
import type { FastifyBaseLogger } from 'fastify'
import type { DeployedApp, Deployer, RuntimeLine } from '../../../integrations/deployer/port.ts'
import { keptSince, lastLoggedAt, type NewAppLog, sameLine } from '../../domain/apps/logs.ts'
import type { Db } from '../../domain/base/db.ts'
import type { LogBuffer } from './log-buffer.ts'

export interface FollowerContext {
  readonly db: Db
  readonly deployer: Deployer
  readonly buffer: LogBuffer
  readonly log: FastifyBaseLogger
}

/** Machines report their lines independently, so lines from shortly before the newest one may still be missing. */
const OVERLAP = 5_000
const MIN_PAUSE = 500
const MAX_PAUSE = 30_000
/** Lines per second kept from one app; more would push out the lines of all others. */
const MAX_RATE = 500

/** Stores an app's log until `signal` aborts, reopening the stream as often as necessary. */
export async function followApp(
  app: DeployedApp & { createdAt: Date },
  context: FollowerContext,
  signal: AbortSignal
): Promise<void> {
  for (let failures = 0; !signal.aborted; failures++) {
    try {
      for await (const line of linesOf(app, context, signal)) {
        failures = 0
        await context.buffer.add(line)
      }
    } catch (error) {
      if (!signal.aborted && failures === 0)
        context.log.warn({ err: error, appId: app.id }, 'the log of an app could not be read')
    }
    const pause = Math.min(MAX_PAUSE, MIN_PAUSE * 2 ** failures) * (0.5 + Math.random() / 2)
    await delay(pause, undefined, { signal, ref: false }).catch(() => {})
  }
}

/** Lines not stored yet: from where the last stream ended, or from the app's first line. */
async function* linesOf(
  app: DeployedApp & { createdAt: Date },
  { db, deployer, buffer }: FollowerContext,
  signal: AbortSignal
): AsyncGenerator<NewAppLog> {
  await buffer.flush()
  const last = await lastLoggedAt(db, app.id)
  const since = last === null ? app.createdAt : new Date(last.getTime() - OVERLAP)
  const kept = countEach(last === null ? [] : await keptSince(db, app.id, since))
  const flood = new FloodGate()
  for await (const line of deployer.logs(app, since, signal)) {
    if ('dropped' in line) flood.dropped += line.dropped
    else if (!takeOne(kept, sameLine(line)) && flood.admits()) yield line
    const told = flood.report(app.id)
    if (told !== undefined) yield told
  }
}

function countEach(keys: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>()
  for (const key of keys) counts.set(key, (counts.get(key) ?? 0) + 1)
  return counts
}

/** Decrements the count for `key`. Returns false when there is none left. */
function takeOne(counts: Map<string, number>, key: string): boolean {
  const count = counts.get(key) ?? 0
  if (count > 0) counts.set(key, count - 1)
  return count > 0
}

/** Passes a limited number of lines per second and reports the dropped ones once a second. */
class FloodGate {
  dropped = 0
  #since = performance.now()
  #passed = 0

  admits(): boolean {
    this.#turn()
    if (this.#passed < MAX_RATE) {
      this.#passed++
      return true
    }
    this.dropped++
    return false
  }

  /** A line reporting how many were dropped, when one is due. */
  report(appId: string): RuntimeLine | undefined {
    if (this.dropped === 0 || this.#passed >= MAX_RATE) return undefined
    const message = `${this.dropped} lines were dropped: they came faster than they can be stored`
    this.dropped = 0
    const [level, source] = ['warn', 'system'] as const
    return { appId, deploymentId: null, at: new Date(), level, source, region: null, instance: null, message }
  }

  #turn(): void {
    const now = performance.now()
    if (now - this.#since < 1_000) return
    this.#since = now
    this.#passed = 0
  }
}
