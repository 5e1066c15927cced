import { randomBytes } from 'node:crypto'
import { type Behaviour, type FakeMachine, Lifecycle, type MachineConfig } from './machine.ts'

export interface FakeApp {
  readonly id: string
  readonly name: string
  readonly organization: string
  readonly network: string
  readonly machines: FakeMachine[]
  readonly ips: { id: string; type: string; address: string; region: string; createdAt: string }[]
  readonly lines: FakeLine[]
}

export interface FakeLine {
  timestamp: string
  message: string
  level: string
  instance: string
  region: string
  meta: { instance: string; region: string; event: { provider: string } }
}

/** An error of the API, in its wording. */
export class FlyRefusal extends Error {
  readonly status: number
  readonly code: string | undefined

  constructor(status: number, message: string, code?: string) {
    super(message)
    this.status = status
    this.code = code
  }
}

const APP_NAME = /^[a-z0-9][a-z0-9-]{0,61}[a-z0-9]$/
const GONE = new Set(['destroying', 'destroyed'])

/** The complete state of Fly. Its methods are the API calls, without HTTP. */
export class World {
  readonly second: number
  /** The behaviour of programs by image; an unlisted image has a healthy one. */
  readonly behaviours = new Map<string, Behaviour>()
  /** Seconds until the proxies route to an uncordoned machine. */
  propagation = 0
  /** Images that the registry does not have. */
  readonly missingImages = new Set<string>()
  /** Regions without capacity. */
  readonly fullRegions = new Set<string>()
  readonly lifecycle: Lifecycle
  #apps = new Map<string, FakeApp>()

  constructor(second: number) {
    this.second = second
    this.lifecycle = new Lifecycle(second, this.behaviours)
  }

  /** Performs an action and reverts it. */
  forget<T>(work: () => T): T {
    const before = structuredClone(this.#apps)
    try {
      return work()
    } finally {
      this.#apps = before
    }
  }

  apps(organization?: string): FakeApp[] {
    const all = [...this.#apps.values()]
    for (const app of all) this.#advance(app)
    return organization === undefined ? all : all.filter(app => app.organization === organization)
  }

  createApp(name: string, organization: string, network = 'default'): FakeApp {
    if (!APP_NAME.test(name)) throw new FlyRefusal(422, `Validation failed: Name is invalid`)
    if (this.#apps.has(name)) throw new FlyRefusal(422, 'Validation failed: Name has already been taken', 'name_taken')
    const id = randomBytes(8).toString('hex')
    const app = { id, name, organization, network, machines: [], ips: [], lines: [] }
    this.#apps.set(name, app)
    return app
  }

  app(name: string): FakeApp {
    const app = this.#apps.get(name)
    if (app === undefined) throw new FlyRefusal(404, 'app not found')
    this.#advance(app)
    return app
  }

  deleteApp(name: string, force: boolean): void {
    const app = this.app(name)
    const isRunning = app.machines.some(machine => machine.state === 'started' || machine.state === 'starting')
    if (isRunning && !force) throw new FlyRefusal(412, 'failed_precondition: app has running machines')
    this.#apps.delete(name)
  }

  machine(appName: string, id: string): FakeMachine {
    const machine = this.app(appName).machines.find(machine => machine.id === id)
    if (machine === undefined) throw new FlyRefusal(404, 'machine not found')
    return machine
  }

  createMachine(
    appName: string,
    wish: { name?: string; region?: string; config?: MachineConfig } & {
      skip_launch?: boolean
      skip_service_registration?: boolean
      lease_ttl?: number
    }
  ): FakeMachine {
    const app = this.app(appName)
    const { config, region = 'iad', name = `quiet-wind-${randomBytes(2).readUInt16BE()}` } = wish
    if (typeof config?.image !== 'string') throw new FlyRefusal(400, 'invalid_argument: config.image is required')
    const twin = app.machines.find(machine => machine.name === name && !GONE.has(machine.state))
    if (twin !== undefined)
      throw new FlyRefusal(
        409,
        `already_exists: unique machine name violation, machine ID ${twin.id} already exists with name "${name}"`
      )
    if (this.missingImages.has(config.image))
      throw new FlyRefusal(
        400,
        `failed to get manifest ${config.image}: request returned non-2xx status: 404 Not Found`
      )
    if (this.fullRegions.has(region))
      throw new FlyRefusal(422, `insufficient resources to create new machine in ${region}`, 'insufficient_capacity')
    const cordoned = wish.skip_service_registration === true
    const machine = this.lifecycle.create({ name, region, config, cordoned }, wish.skip_launch !== true)
    machine.routedAt = this.#routedAt()
    if (wish.lease_ttl !== undefined) this.lease(machine, wish.lease_ttl, '')
    app.machines.push(machine)
    this.#say(app, machine, 'runner', `Successfully prepared image ${config.image}`)
    return machine
  }

  updateMachine(
    machine: FakeMachine,
    wish: { config?: MachineConfig; current_version?: string; skip_launch?: boolean }
  ): void {
    if (wish.config === undefined) throw new FlyRefusal(400, 'invalid_argument: config is required')
    if (wish.current_version !== undefined && wish.current_version !== machine.instanceId)
      throw new FlyRefusal(412, 'failed_precondition: current_version does not match the version of the machine')
    if (GONE.has(machine.state)) throw new FlyRefusal(412, 'failed_precondition: machine is being destroyed')
    this.lifecycle.update(machine, wish.config, wish.skip_launch !== true)
  }

  start(machine: FakeMachine): string {
    const { state } = machine
    if (state !== 'stopped' && state !== 'created')
      throw new FlyRefusal(412, `failed_precondition: unable to start machine from current state: '${state}'`)
    this.lifecycle.start(machine)
    return state
  }

  /** @param timeout seconds; null: the setting of the machine */
  stop(machine: FakeMachine, timeout: number | null): void {
    if (machine.state === 'stopped' || machine.state === 'stopping') return
    if (machine.state !== 'started')
      throw new FlyRefusal(412, `failed_precondition: unable to stop machine from current state: '${machine.state}'`)
    this.lifecycle.stop(machine, timeout ?? (Number.parseInt(machine.config.stop_config?.timeout ?? '', 10) || 5))
  }

  restart(machine: FakeMachine): void {
    if (machine.state !== 'started') throw new FlyRefusal(412, 'failed_precondition: machine is not started')
    this.lifecycle.start(machine)
  }

  destroy(machine: FakeMachine, force: boolean): void {
    if (GONE.has(machine.state)) throw new FlyRefusal(404, 'machine not found')
    if (!force && machine.state !== 'stopped' && machine.state !== 'created')
      throw new FlyRefusal(412, 'failed_precondition: unable to destroy machine, not currently stopped')
    this.lifecycle.destroy(machine)
  }

  /** The state of one version of a machine; null: the newest version. */
  stateOf(machine: FakeMachine, version: string | null): string {
    if (version === null || version === machine.instanceId) return machine.state
    const isKnown = machine.versions.some(known => known.version === version)
    if (!isKnown) throw new FlyRefusal(400, 'invalid_argument: unknown version')
    return 'replaced'
  }

  /** @param value absent: removes the label */
  label(machine: FakeMachine, key: string, value: string | undefined): void {
    const { [key]: _, ...others } = machine.config.metadata ?? {}
    machine.config.metadata = value === undefined ? others : { ...others, [key]: value }
  }

  cordon(machine: FakeMachine, cordoned: boolean): void {
    if (machine.cordoned && !cordoned) machine.routedAt = this.#routedAt()
    machine.cordoned = cordoned
  }

  lease(machine: FakeMachine, ttl: number, description: string, nonce?: string): NonNullable<FakeMachine['lease']> {
    const held = this.leaseOf(machine)
    if (held !== null && held.nonce !== nonce) throw this.#leased(machine)
    machine.lease = {
      nonce: held?.nonce ?? randomBytes(6).toString('hex'),
      owner: 'rhone@example.com',
      description,
      expiresAt: Date.now() + ttl * this.second
    }
    return machine.lease
  }

  leaseOf(machine: FakeMachine): FakeMachine['lease'] {
    return machine.lease !== null && machine.lease.expiresAt > Date.now() ? machine.lease : null
  }

  /** A resource leased by another client cannot be changed. */
  mayChange(machine: FakeMachine, nonce: string | undefined): FakeMachine {
    const lease = this.leaseOf(machine)
    if (lease !== null && lease.nonce !== nonce) throw this.#leased(machine)
    return machine
  }

  /** The machine to which the proxies route a request for the app; null: none. */
  route(appName: string): FakeMachine | null {
    const isOpen = (machine: FakeMachine) =>
      !machine.cordoned && machine.routedAt <= Date.now() && this.lifecycle.isPassing(machine)
    const open = this.app(appName).machines.filter(isOpen)
    return open[Math.floor(Math.random() * open.length)] ?? null
  }

  /** Writes a log line as the program of a machine. */
  say(appName: string, machineId: string, message: string, level = 'info'): void {
    this.#say(this.app(appName), this.machine(appName, machineId), 'app', message, level)
  }

  #say(app: FakeApp, { id, region }: FakeMachine, provider: string, message: string, level = 'info'): void {
    const meta = { instance: id, region, event: { provider } }
    app.lines.push({ timestamp: new Date().toISOString(), message, level, instance: id, region, meta })
  }

  #leased({ id, lease }: FakeMachine): FlyRefusal {
    const until = new Date(lease!.expiresAt).toISOString()
    return new FlyRefusal(409, `machine ID ${id} lease currently held by ${lease!.owner}, expires at ${until}`)
  }

  #routedAt(): number {
    return Date.now() + this.propagation * this.second
  }

  #advance(app: FakeApp): void {
    for (const machine of app.machines) this.lifecycle.advance(machine)
  }
}
