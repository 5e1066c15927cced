import type { FakeMachine } from './machine.ts'
import type { FakeApp, FakeLine, World } from './world.ts'

export function appView({ id, name, organization, machines }: FakeApp): object {
  const status = machines.length === 0 ? 'pending' : 'deployed'
  return { id, name, status, organization: { name: organization, slug: organization } }
}

export function appListView(apps: FakeApp[]): object {
  const listed = apps.map(({ id, name, network, machines }) => ({
    id,
    name,
    machine_count: machines.filter(({ state }) => state !== 'destroyed').length,
    volume_count: 0,
    network
  }))
  return { total_apps: listed.length, apps: listed }
}

export function machineView(world: World, machine: FakeMachine): object {
  const lease = world.leaseOf(machine)
  return {
    id: machine.id,
    name: machine.name,
    state: machine.state,
    region: machine.region,
    image_ref: imageRef(machine.config.image),
    instance_id: machine.instanceId,
    private_ip: `fdaa:0:18:a7b:196:${machine.id.slice(0, 4)}:${machine.id.slice(4, 8)}:2`,
    created_at: new Date(machine.createdAt).toISOString(),
    updated_at: new Date(machine.updatedAt).toISOString(),
    config: machine.config,
    events: machine.events.slice(0, 20),
    checks: checksOf(world, machine),
    host_status: 'ok',
    cordoned: machine.cordoned,
    ...(lease && { nonce: lease.nonce })
  }
}

function checksOf(world: World, machine: FakeMachine): object[] {
  const isPassing = world.lifecycle.isPassing(machine)
  return Object.keys(machine.config.checks ?? {}).map(name => ({
    name,
    status: isPassing ? 'passing' : 'critical',
    output: isPassing ? 'ok' : 'connect: connection refused',
    updated_at: new Date().toISOString()
  }))
}

function imageRef(image: string): object {
  const [, path = image, tag, digest] = /^([^@]*?)(?::([^:@/]+))?(?:@(.+))?$/.exec(image) ?? []
  const [registry = '', ...repository] = path.split('/')
  return { registry, repository: repository.join('/'), tag: tag ?? '', digest: digest ?? 'sha256:0', labels: null }
}

export function leaseView(machine: FakeMachine): object {
  const { nonce, owner, description, expiresAt } = machine.lease!
  const data = { nonce, expires_at: Math.round(expiresAt / 1_000), owner, description, version: machine.instanceId }
  return { status: 'success', data }
}

/** Pages of log lines, each with a token for the next page. */
export function logsView(lines: FakeLine[], token: string): object {
  const from = token === '' ? Math.max(0, lines.length - 100) : Number.parseInt(token, 10)
  const page = lines.slice(from, from + 100)
  return {
    data: page.map((attributes, index) => ({ id: String(from + index), type: 'logs', attributes })),
    meta: { next_token: String(from + page.length) }
  }
}
