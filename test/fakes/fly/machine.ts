import { randomBytes } from 'node:crypto'

export type MachineState =
  | 'created'
  | 'starting'
  | 'started'
  | 'stopping'
  | 'stopped'
  | 'replacing'
  | 'destroying'
  | 'destroyed'

export interface MachineConfig {
  image: string
  env?: Record<string, string>
  metadata?: Record<string, string>
  guest?: { cpu_kind?: string; cpus?: number; memory_mb?: number }
  services?: unknown[]
  checks?: Record<string, { type?: string; port?: number; path?: string }>
  restart?: { policy?: 'no' | 'on-failure' | 'always'; max_retries?: number }
  stop_config?: { signal?: string; timeout?: string }
  auto_destroy?: boolean
}

/** The behaviour of the program in an image. All times in seconds. */
export interface Behaviour {
  /** From its creation until it is started. */
  startup: number
  /** From its start until its checks pass; null: never. */
  warmup: number | null
  /** Time after which it exits, each time; null: never. */
  exit: { after: number; code: number; oomKilled?: boolean } | null
  /** Time from the signal to its exit; if longer than the timeout, it is killed. */
  shutdown: number
}

export const SOUND: Behaviour = { startup: 0.5, warmup: 1, exit: null, shutdown: 0.2 }

export interface MachineEvent {
  id: string
  type: 'launch' | 'start' | 'exit' | 'update' | 'destroy' | 'restart'
  status: string
  source: 'flyd' | 'user'
  timestamp: number
  request?: unknown
}

interface Lease {
  nonce: string
  owner: string
  description: string
  /** Milliseconds since the epoch. */
  expiresAt: number
}

/** Plain data, so that a call can be undone by restoring an older copy. */
export interface FakeMachine {
  readonly id: string
  readonly name: string
  readonly region: string
  readonly createdAt: number
  config: MachineConfig
  instanceId: string
  versions: { version: string; user_config: MachineConfig }[]
  state: MachineState
  cordoned: boolean
  /** When the proxies start to route requests to it. */
  routedAt: number
  updatedAt: number
  startedAt: number
  restarts: number
  events: MachineEvent[]
  lease: Lease | null
  /** Scheduled transitions, in order of time. */
  plan: { at: number; step: Step }[]
}

type Step = 'starting' | 'started' | 'exited' | 'stopped' | 'destroyed'

/** The state transitions of a machine over time; all times in milliseconds. */
export class Lifecycle {
  readonly #second: number
  readonly #behaviours: ReadonlyMap<string, Behaviour>

  /** @param second milliseconds of a simulated second */
  constructor(second: number, behaviours: ReadonlyMap<string, Behaviour>) {
    this.#second = second
    this.#behaviours = behaviours
  }

  behaviourOf(machine: FakeMachine): Behaviour {
    return this.#behaviours.get(machine.config.image) ?? SOUND
  }

  create(given: Pick<FakeMachine, 'name' | 'region' | 'config' | 'cordoned'>, launch: boolean): FakeMachine {
    const now = Date.now()
    const machine: FakeMachine = {
      ...given,
      id: randomBytes(7).toString('hex'),
      createdAt: now,
      updatedAt: now,
      instanceId: instanceId(),
      versions: [],
      state: 'created',
      routedAt: now,
      startedAt: 0,
      restarts: 0,
      events: [],
      lease: null,
      plan: []
    }
    machine.versions.push({ version: machine.instanceId, user_config: machine.config })
    record(machine, 'launch', 'created', 'user', now)
    if (launch) this.#planStart(machine, now)
    return machine
  }

  /** Advances the machine to the current time. */
  advance(machine: FakeMachine): void {
    const now = Date.now()
    for (let next = machine.plan[0]; next !== undefined && next.at <= now; next = machine.plan[0]) {
      machine.plan.shift()
      machine.updatedAt = next.at
      this.#take(machine, next.step, next.at)
    }
  }

  start(machine: FakeMachine): void {
    machine.restarts = 0
    machine.state = 'starting'
    this.#planStart(machine, Date.now())
  }

  /** @param timeout seconds until it is killed */
  stop(machine: FakeMachine, timeout: number): void {
    machine.state = 'stopping'
    const takes = Math.min(this.behaviourOf(machine).shutdown, timeout)
    machine.plan = [{ at: Date.now() + takes * this.#second, step: 'stopped' }]
  }

  update(machine: FakeMachine, config: MachineConfig, launch: boolean): void {
    const now = Date.now()
    machine.config = config
    machine.instanceId = instanceId()
    machine.versions.unshift({ version: machine.instanceId, user_config: config })
    machine.state = launch ? 'replacing' : 'created'
    machine.plan = []
    record(machine, 'update', machine.state, 'user', now)
    if (launch) this.#planStart(machine, now)
  }

  destroy(machine: FakeMachine): void {
    const now = Date.now()
    machine.state = 'destroying'
    machine.plan = [{ at: now + 0.2 * this.#second, step: 'destroyed' }]
    record(machine, 'destroy', 'destroying', 'user', now)
  }

  /** Lets the program of a started machine exit. */
  crash(machine: FakeMachine, code: number): void {
    this.#exit(machine, { code }, Date.now())
  }

  isPassing(machine: FakeMachine): boolean {
    const { warmup } = this.behaviourOf(machine)
    return machine.state === 'started' && warmup !== null && Date.now() >= machine.startedAt + warmup * this.#second
  }

  #planStart(machine: FakeMachine, now: number): void {
    const takes = this.behaviourOf(machine).startup * this.#second
    machine.plan = [
      { at: now + takes / 2, step: 'starting' },
      { at: now + takes, step: 'started' }
    ]
  }

  #take(machine: FakeMachine, step: Step, at: number): void {
    const { exit } = this.behaviourOf(machine)
    switch (step) {
      case 'started':
        machine.state = 'started'
        machine.startedAt = at
        record(machine, 'start', 'started', 'flyd', at)
        if (exit !== null) machine.plan = [{ at: at + exit.after * this.#second, step: 'exited' }]
        return
      case 'exited':
        this.#exit(machine, exit ?? { code: 0 }, at)
        return
      case 'stopped':
        machine.state = 'stopped'
        recordExit(machine, { code: 0 }, true, at)
        return
      default:
        machine.state = step
    }
  }

  #exit(machine: FakeMachine, exit: { code: number; oomKilled?: boolean }, at: number): void {
    const { policy = 'on-failure', max_retries: retries = 10 } = machine.config.restart ?? {}
    const isRestarted =
      policy === 'always' || (policy === 'on-failure' && exit.code !== 0 && machine.restarts < retries)
    recordExit(machine, exit, false, at)
    if (isRestarted) {
      machine.restarts += 1
      machine.state = 'starting'
      machine.plan = [{ at: at + this.behaviourOf(machine).startup * this.#second, step: 'started' }]
    } else if (machine.config.auto_destroy === true) {
      this.destroy(machine)
    } else {
      machine.state = 'stopped'
      machine.plan = []
    }
  }
}

function record(
  machine: FakeMachine,
  type: MachineEvent['type'],
  status: string,
  source: MachineEvent['source'],
  timestamp: number,
  request?: unknown
): void {
  const event = { id: instanceId(), type, status, source, timestamp: Math.round(timestamp) }
  machine.events.unshift(request === undefined ? event : { ...event, request })
}

function recordExit(
  machine: FakeMachine,
  exit: { code: number; oomKilled?: boolean },
  requestedStop: boolean,
  at: number
): void {
  record(machine, 'exit', 'stopped', 'flyd', at, {
    exit_event: {
      requested_stop: requestedStop,
      restarting: false,
      guest_exit_code: exit.code,
      guest_signal: -1,
      guest_error: '',
      exit_code: exit.code,
      signal: -1,
      error: '',
      oom_killed: exit.oomKilled ?? false,
      exited_at: new Date(at).toISOString()
    },
    restart_count: machine.restarts
  })
}

const CROCKFORD = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'

/** A ULID, more or less. */
function instanceId(): string {
  return `01${Array.from(randomBytes(24), byte => CROCKFORD[byte % 32]).join('')}`
}
