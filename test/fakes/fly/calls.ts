import type { IncomingMessage } from 'node:http'
import type { Operation } from './faults.ts'
import { graphql, operationOf } from './graphql.ts'
import { appListView, appView, leaseView, logsView, machineView } from './views.ts'
import { FlyRefusal, type World } from './world.ts'

/** A parsed API call. */
export interface Call {
  readonly operation: Operation
  readonly app: string
  readonly machine: string
  /** The last part of the path, if it names something; for leases, the method. */
  readonly key: string
  readonly query: URLSearchParams
  readonly body: Record<string, unknown>
  readonly nonce: string | undefined
}

export interface Reply {
  status: number
  body?: object
}

export const ok = (body: object = { ok: true }): Reply => ({ status: 200, body })

export function refusalOf(error: unknown): Reply {
  if (!(error instanceof FlyRefusal)) throw error
  const { status, message, code } = error
  return { status, body: code === undefined ? { error: message } : { error: message, status: code } }
}

/** Performs a call immediately. */
export function perform(world: World, organization: string, call: Call): Reply {
  try {
    if (call.operation.startsWith('graphql.')) return ok(performGraphql(world, call))
    if (call.operation === 'platform.regions')
      return ok({ Regions: [{ code: 'iad', name: 'Ashburn, Virginia (US)' }], Nearest: 'iad' })
    if (call.operation === 'apps.create' || call.operation === 'apps.list')
      return performOnApps(world, organization, call)
    if (world.app(call.app).organization !== organization) throw new FlyRefusal(401, 'unauthorized')
    return call.operation.startsWith('machines.') ? performOnMachines(world, call) : performOnApp(world, call)
  } catch (error) {
    return refusalOf(error)
  }
}

function performGraphql(world: World, { operation, body }: Call): object {
  return graphql(world, operation as `graphql.${'app'}`, body.variables as Record<string, unknown>)
}

function performOnApps(world: World, organization: string, { operation, query, body }: Call): Reply {
  if (operation === 'apps.list') return ok(appListView(world.apps(query.get('org_slug') ?? '')))
  if (body.org_slug !== organization) throw new FlyRefusal(404, 'organization not found')
  const app = world.createApp(String(body.app_name), organization, body.network as string | undefined)
  return { status: 201, body: { id: app.id, created_at: Date.now() } }
}

function performOnApp(world: World, { operation, app, query }: Call): Reply {
  switch (operation) {
    case 'apps.get':
      return ok(appView(world.app(app)))
    case 'apps.delete':
      world.deleteApp(app, query.get('force') === 'true')
      return { status: 202 }
    default:
      return ok(logsView(world.app(app).lines, query.get('next_token') ?? ''))
  }
}

function performOnMachines(world: World, call: Call): Reply {
  const { operation, app, query, body } = call
  switch (operation) {
    case 'machines.list':
      return ok(listed(world, app, query))
    case 'machines.create':
      return ok(machineView(world, world.createMachine(app, body)))
    case 'machines.lease':
      return performOnLease(world, call)
    default:
      return performOnMachine(world, call)
  }
}

function listed(world: World, app: string, query: URLSearchParams): object[] {
  const hasDestroyed = (query.get('include_deleted') ?? 'false') !== 'false'
  const wanted = [...query].filter(([field]) => field.startsWith('metadata.'))
  return world
    .app(app)
    .machines.filter(({ state }) => hasDestroyed || state !== 'destroyed')
    .filter(({ region }) => region === (query.get('region') ?? region))
    .filter(({ config }) => wanted.every(([field, value]) => config.metadata?.[field.slice(9)] === value))
    .map(machine => machineView(world, machine))
}

function performOnMachine(world: World, call: Call): Reply {
  const machine = world.machine(call.app, call.machine)
  switch (call.operation) {
    case 'machines.get':
      return ok(machineView(world, machine))
    case 'machines.events':
      return ok(machine.events)
    case 'machines.versions':
      return ok(machine.versions)
    default:
      world.mayChange(machine, call.nonce)
      return change(world, call)
  }
}

function change(world: World, { operation, app, machine: id, key, query, body }: Call): Reply {
  const machine = world.machine(app, id)
  switch (operation) {
    case 'machines.update':
      world.updateMachine(machine, body)
      return ok(machineView(world, machine))
    case 'machines.delete':
      // Older clients use its former name.
      world.destroy(machine, query.get('force') === 'true' || query.get('kill') === 'true')
      return ok()
    case 'machines.start':
      return ok({ previous_state: world.start(machine), migrated: false, new_host: '' })
    case 'machines.stop':
      world.stop(machine, typeof body.timeout === 'string' ? Number.parseInt(body.timeout, 10) : null)
      return ok()
    case 'machines.restart':
      world.restart(machine)
      return ok()
    case 'machines.signal':
      if (body.signal === 'SIGKILL' || body.signal === 9) world.lifecycle.crash(machine, 137)
      return ok()
    case 'machines.cordon':
    case 'machines.uncordon':
      world.cordon(machine, operation === 'machines.cordon')
      return ok()
    default:
      if (key === '') return ok(machine.config.metadata ?? {})
      world.label(machine, key, body.value as string | undefined)
      return { status: 204 }
  }
}

function performOnLease(world: World, { app, machine: id, key: method, body, query, nonce }: Call): Reply {
  const machine = world.machine(app, id)
  if (method === 'POST') {
    const ttl = Number(body.ttl ?? query.get('ttl') ?? 30)
    world.lease(machine, ttl, String(body.description ?? ''), nonce)
    return { status: 201, body: leaseView(machine) }
  }
  if (world.leaseOf(machine) === null) throw new FlyRefusal(404, 'lease not found')
  if (method === 'GET') return ok(leaseView(machine))
  world.mayChange(machine, nonce).lease = null
  return ok({ status: 'success', data: { ok: true } })
}

/** Parses a request; null if the call does not exist. */
export function callOf(method: string, url: URL, headers: IncomingMessage['headers'], text: string): Call | null {
  const nonce = headers['fly-machine-lease-nonce'] as string | undefined
  const isForm = headers['content-type']?.startsWith('application/x-www-form-urlencoded') === true
  const body = isForm ? Object.fromEntries(new URLSearchParams(text)) : text === '' ? {} : JSON.parse(text)
  const route = routeOf(method, url.pathname, body)
  return route && { app: '', machine: '', key: '', query: url.searchParams, body, nonce, ...route }
}

type Route = Pick<Call, 'operation'> & Partial<Pick<Call, 'app' | 'machine' | 'key'>>

function routeOf(method: string, path: string, body: Record<string, unknown>): Route | null {
  if (method === 'POST' && path === '/graphql') {
    const operation = operationOf(String(body.query))
    return operation && { operation }
  }
  if (path === '/v1/platform/regions') return { operation: 'platform.regions' }
  if (/^\/prometheus\/[^/]+\/api\/v1\/query$/.test(path)) return { operation: 'prometheus' }
  const [, logged] = /^\/api\/v1\/apps\/([^/]+)\/logs$/.exec(path) ?? []
  if (logged !== undefined) return { operation: 'logs', app: logged }
  return path.startsWith('/v1/apps') ? machinesRouteOf(method, path) : null
}

function machinesRouteOf(method: string, path: string): Route | null {
  const [, , app = '', machines, machine = '', action, key = ''] = path.slice(1).split('/')
  if (app === '') return { operation: method === 'POST' ? 'apps.create' : 'apps.list' }
  if (machines === undefined) return { operation: method === 'DELETE' ? 'apps.delete' : 'apps.get', app }
  if (machine === '') return { operation: method === 'POST' ? 'machines.create' : 'machines.list', app }
  const operation = machineOperation(method, action)
  return operation && { operation, app, machine, key: action === 'lease' ? method : key }
}

const ACTIONS = new Set(['start', 'stop', 'restart', 'signal', 'cordon', 'uncordon'])
const VIEWS = new Set(['wait', 'events', 'versions'])

function machineOperation(method: string, action: string | undefined): Operation | null {
  if (action === undefined) {
    if (method === 'GET') return 'machines.get'
    return method === 'DELETE' ? 'machines.delete' : 'machines.update'
  }
  if (method === 'POST' && ACTIONS.has(action)) return `machines.${action}` as Operation
  if (method === 'GET' && VIEWS.has(action)) return `machines.${action}` as Operation
  return action === 'lease' || action === 'metadata' ? `machines.${action}` : null
}
