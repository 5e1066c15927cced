import { DeployError, type Release, type RolloutContext } from '../port.ts'
import type { Machine, MachinesApi, Refusal } from './api.ts'
import { all, converge, type RetryPace, sleep, within } from './converge.ts'
import { healthPathOf, machineConfig, machineName, portOf, STOP_TIMEOUT } from './machine-config.ts'
import {
  complaintOf,
  endOf,
  isAnswering,
  isDown,
  isGone,
  isHealthy,
  isOpen,
  isStarted,
  isStopping,
  labelsOf
} from './machines.ts'

/** All in milliseconds. */
export interface Waits extends RetryPace {
  /** For a machine to start, and to end after SIGTERM; polled every `pause`. */
  readonly start: number
  readonly stop: number
  /** For its checks to pass, from its start; polled every `healthInterval`. */
  readonly health: number
  readonly healthInterval: number
  /** For all of Fly's proxies to learn the new routing. */
  readonly propagation: number
  /** For requests in progress to finish before SIGTERM. */
  readonly drain: number
}

/** Milliseconds for the first check that counts: its interval and its timeout, as in the machine config. */
const AFTER_GRACE = 15_000

/** Blue/green within one Fly app, by opening (uncordoning) and cordoning machines. */
export class Rollout {
  readonly #api: MachinesApi
  readonly #waits: Waits

  constructor(api: MachinesApi, waits: Waits) {
    this.#api = api
    this.#waits = waits
  }

  /** Brings up one healthy machine for the release. One that fails is removed, unless it is serving. */
  async start(app: string, release: Release, context: RolloutContext): Promise<void> {
    const machine = await this.#ensureMachine(app, release, context)
    try {
      await this.#awaitStart(app, machine, context)
      await this.#awaitHealth(app, machine, release, context)
    } catch (error) {
      if (!(error instanceof DeployError) || isOpen(machine)) throw error
      throw await this.#undone(app, machine, error, context.signal)
    }
  }

  /** Opens the release before closing the others, so that there is always one to answer. */
  async serve(app: string, deploymentId: string, context: RolloutContext): Promise<void> {
    const { signal } = context
    let isKnown = false
    await converge(this.#waits, signal, async () => {
      const machines = await this.#ours(app, signal)
      const chosen = best(machines.filter(machine => labelsOf(machine)?.deploymentId === deploymentId))
      if (chosen === undefined || !isHealthy(chosen))
        throw new Error(`fly: deployment ${deploymentId} is not healthy, and receives no requests`)
      const others = machines.filter(machine => machine !== chosen && isOpen(machine))
      if (isOpen(chosen) && others.length === 0) return true
      if (!isOpen(chosen)) {
        await this.#api.cordon(app, chosen, false, signal)
      } else if (!isKnown) {
        await sleep(this.#waits.propagation, signal)
        isKnown = true
      } else {
        await all(others, machine => this.#api.cordon(app, machine, true, signal))
      }
      return undefined
    })
    context.say('Requests now go to this version.\n')
  }

  /**
   * Ends all of our machines but one of the deployment that is kept.
   *
   * @throws Error when another one is serving and the one to keep cannot
   */
  async retire(app: string, keep: string | null, signal: AbortSignal): Promise<void> {
    await converge(this.#waits, signal, async () => {
      const machines = await this.#ours(app, signal)
      const kept = best(machines.filter(machine => labelsOf(machine)?.deploymentId === keep))
      const surplus = machines.filter(machine => machine !== kept)
      if (surplus.length === 0) return true
      if (keep !== null && surplus.some(isAnswering)) await this.#takeBack(app, kept, signal)
      await all(surplus.filter(isOpen), machine => this.#api.cordon(app, machine, true, signal))
      if (surplus.some(isStarted)) await sleep(this.#waits.drain, signal)
      await all(surplus, machine => this.#end(app, machine, signal))
      return undefined
    })
  }

  /** Undoes a switch to another machine that was interrupted, so that requests are still answered. */
  async #takeBack(app: string, kept: Machine | undefined, signal: AbortSignal): Promise<void> {
    if (kept === undefined || !isHealthy(kept))
      throw new Error('fly: the release to keep does not answer, so the serving one is not stopped')
    if (isOpen(kept)) return
    await this.#api.cordon(app, kept, false, signal)
    await sleep(this.#waits.propagation, signal)
    const now = await this.#api.machine(app, kept.id, signal)
    if (now === null || !isAnswering(now)) throw new Error('fly: the release to keep does not receive requests')
  }

  async #ours(app: string, signal: AbortSignal): Promise<Machine[]> {
    const machines = await this.#api.machines(app, signal)
    return machines.filter(machine => labelsOf(machine) !== null && !isGone(machine))
  }

  /** Finds or creates the release's machine, cordoned. One that is down is replaced. */
  #ensureMachine(app: string, release: Release, context: RolloutContext): Promise<Machine> {
    const { signal } = context
    const { deploymentId, region } = release
    return converge(this.#waits, signal, async () => {
      const machines = await this.#ours(app, signal)
      const mine = machines.filter(machine => labelsOf(machine)?.deploymentId === deploymentId)
      const found = best(mine.filter(machine => !isDown(machine)))
      if (found !== undefined) return found
      await all(mine, machine => this.#api.destroyMachine(app, machine, signal))
      context.say(`Starting a machine in ${region}.\n`)
      const wish = {
        name: machineName(deploymentId),
        region,
        config: machineConfig(release),
        skip_service_registration: true
      }
      const answer = await this.#api.createMachine(app, wish, signal)
      if ('http' in answer) refuse(answer, region)
      return undefined
    })
  }

  async #awaitStart(app: string, machine: Machine, { signal }: RolloutContext): Promise<void> {
    const { start, pause } = this.#waits
    const hasStarted = await within(start, pause, signal, async () => isStarted(await this.#look(app, machine, signal)))
    if (!hasStarted) throw new DeployError(`The app did not start within ${timeIn(start)}.`)
  }

  async #awaitHealth(app: string, machine: Machine, { health }: Release, context: RolloutContext): Promise<void> {
    const { healthInterval } = this.#waits
    const patience = health?.grace ? health.grace * 1_000 + AFTER_GRACE : this.#waits.health
    const path = healthPathOf(health)
    const { signal } = context
    let complaint = ''
    context.say('The app has started. Waiting for its health check.\n')
    const isUp = await within(patience, healthInterval, signal, async () => {
      const now = await this.#look(app, machine, signal)
      if (complaint !== complaintOf(now)) {
        complaint = complaintOf(now)
        context.say(`GET ${path}: ${complaint}\n`)
      }
      return isHealthy(now)
    })
    if (!isUp)
      throw new DeployError(
        `The app did not answer GET ${path} on port ${portOf(health)} with 200 within ${timeIn(patience)}. ` +
          'It must listen on all interfaces, on the port in the env var PORT.'
      )
    context.say('The app is healthy.\n')
  }

  /** @throws DeployError when the machine has stopped */
  async #look(app: string, { id }: Machine, signal: AbortSignal): Promise<Machine> {
    const now = await this.#api.machine(app, id, signal)
    if (now === null || isGone(now)) throw new Error('fly: the new machine has disappeared')
    if (isDown(now)) throw new DeployError(endOf(now))
    return now
  }

  /** Gives the app its grace period to exit, then removes the machine in any case. */
  async #end(app: string, machine: Machine, signal: AbortSignal): Promise<void> {
    if (isStarted(machine)) await this.#api.stop(app, machine, STOP_TIMEOUT, signal)
    if (isStarted(machine) || isStopping(machine))
      await within(this.#waits.stop, this.#waits.pause, signal, async () => {
        const now = await this.#api.machine(app, machine.id, signal)
        return now === null || !(isStarted(now) || isStopping(now))
      })
    await this.#api.destroyMachine(app, machine, signal)
  }

  /** Returns the error for the owner even if the machine cannot be removed now: leftovers are retired later. */
  async #undone(app: string, machine: Machine, error: DeployError, signal: AbortSignal): Promise<DeployError> {
    try {
      await this.#api.destroyMachine(app, machine, signal)
      return error
    } catch (cause) {
      return new DeployError(error.message, { cause })
    }
  }
}

/** The machine to keep if a deployment accidentally has several. */
function best(machines: readonly Machine[]): Machine | undefined {
  const rank = (machine: Machine) => (isHealthy(machine) ? 2 : 0) + (isOpen(machine) ? 1 : 0)
  return machines.toSorted((one, other) => rank(other) - rank(one) || (one.id < other.id ? -1 : 1))[0]
}

/** @throws DeployError unless another round may succeed: the name is in use, or the app is not known everywhere yet */
function refuse({ http, error = '', status }: Refusal, region: string): void {
  if (status === 'insufficient_capacity' || /insufficient|no capacity/i.test(error))
    throw new DeployError(`The region ${region} has no capacity at the moment. Try again later, or move the app.`)
  if (http === 404 || http === 409) return
  if (/manifest|image/i.test(error)) throw new DeployError('The image of this version is no longer available.')
  throw new DeployError(`This version cannot run in ${region}: Fly refused it (${http}).`)
}

function timeIn(ms: number): string {
  return ms < 60_000 ? `${Math.ceil(ms / 1_000)} s` : `${Math.round(ms / 60_000)} minutes`
}
