import type { FastifyInstance } from 'fastify'
import type { Deployer, Running } from '../../integrations/deployer/port.ts'

/** The health of live releases, as their machines report it. */
export interface AppHealth {
  /**
   * Whether this release serves and is healthy; null if unknown.
   * @param deploymentId of the live deployment
   */
  answers(deploymentId: string): Promise<boolean | null>
  /** Polls until `stop`, and calls back with the id of each app whose health has changed. */
  watch(onChange: (appId: string) => void): { stop(): void }
}

const made = new WeakMap<FastifyInstance['db'], AppHealth>()

/** Concurrent pages share one check: it costs the same for one app as for all. */
export function appHealth(app: FastifyInstance): AppHealth {
  let health = made.get(app.db)
  if (health === undefined) {
    health = makeHealth(app)
    made.set(app.db, health)
  }
  return health
}

function makeHealth(app: FastifyInstance): AppHealth {
  let seen: { at: number; running: Promise<readonly Running[] | null> } | undefined

  function deployer(): Deployer | undefined {
    return app.hasDecorator('deployer') ? app.getDecorator<Deployer>('deployer') : undefined
  }

  /** Null: a check is too expensive, or fails now. */
  function look(): Promise<readonly Running[] | null> {
    const asked = deployer()
    const every = asked?.lookEvery
    if (asked === undefined || every === undefined) return Promise.resolve(null)
    const now = performance.now()
    if (seen === undefined || now - seen.at >= every / 2) {
      const running = asked.running(AbortSignal.timeout(every)).catch(error => {
        app.log.debug({ err: error }, 'the running apps could not be read')
        return null
      })
      seen = { at: now, running }
    }
    return seen.running
  }

  return {
    async answers(deploymentId) {
      const running = await look()
      if (running === null) return null
      return running.some(release => release.deploymentId === deploymentId && release.isServing && release.isHealthy)
    },

    watch(onChange) {
      const every = deployer()?.lookEvery
      if (every === undefined) return { stop() {} }
      let before: ReadonlyMap<string, boolean> | undefined
      const compare = async () => {
        const running = await look()
        if (running === null) return
        const serving = running.filter(({ isServing }) => isServing)
        const now = new Map(serving.map(({ appId, isHealthy }) => [appId, isHealthy]))
        for (const appId of before === undefined ? downIn(now) : differing(before, now)) onChange(appId)
        before = now
      }
      void compare()
      const timer = setInterval(compare, every).unref()
      return { stop: () => clearInterval(timer) }
    }
  }
}

/** At the first look: what was shown before it is not known, but most apps answer. */
function downIn(now: ReadonlyMap<string, boolean>): string[] {
  return [...now].filter(([, isHealthy]) => !isHealthy).map(([appId]) => appId)
}

function differing(before: ReadonlyMap<string, boolean>, now: ReadonlyMap<string, boolean>): string[] {
  return [...new Set([...now.keys(), ...before.keys()])].filter(appId => now.get(appId) !== before.get(appId))
}

/** The same apps, each with whether its live release is down. */
export function withHealth<App extends { live: { id: string } | null }>(
  app: FastifyInstance,
  apps: readonly App[]
): Promise<(App & { isDown: boolean })[]> {
  const health = appHealth(app)
  return Promise.all(
    apps.map(async found => ({
      ...found,
      isDown: found.live !== null && (await health.answers(found.live.id)) === false
    }))
  )
}
