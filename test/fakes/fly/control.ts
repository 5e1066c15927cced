import { type Chaos, FAULT_KINDS, type Fault, type FaultKind } from './faults.ts'
import { type Behaviour, SOUND } from './machine.ts'
import type { FakeFly } from './server.ts'
import { machineView } from './views.ts'

interface Reply {
  status: number
  body?: object
}

const DONE: Reply = { status: 204 }

/**
 * The control API for tests in another process:
 *
 *     GET    /_fake/state                   every app with all its machines, including destroyed ones
 *     GET    /_fake/calls                   every call so far
 *     GET    /_fake/apps/{app}/request      where a request to the app would go; 503 if no machine answers
 *     POST   /_fake/faults                  one fault, a schedule: {"schedule": ["hang", null, ...]}, or {"chaos": {...}}
 *     DELETE /_fake/faults                  removes all faults
 *     POST   /_fake/behaviours              {"image": ..., and what its program does}
 *     POST   /_fake/world                   {"propagation": seconds, "fullRegions": [...], "missingImages": [...]}
 *     POST   /_fake/crash                   {"app", "machine", "code"}
 *     POST   /_fake/say                     {"app", "machine", "message", "level"}
 */
export function control(fly: FakeFly, method: string, url: URL, text: string): Reply {
  const { world, faults } = fly
  const body = text === '' ? {} : JSON.parse(text)
  const [, , subject, app = ''] = url.pathname.split('/')
  switch (`${method} ${subject}`) {
    case 'GET state':
      return { status: 200, body: stateOf(fly) }
    case 'GET calls':
      return { status: 200, body: fly.calls }
    case 'GET apps': {
      const machine = world.route(app)
      return machine === null
        ? { status: 503, body: { error: 'no machine answers' } }
        : { status: 200, body: { machine: machine.id, metadata: machine.config.metadata } }
    }
    case 'POST faults':
      return program(fly, body)
    case 'DELETE faults':
      faults.clear()
      return DONE
    case 'POST behaviours': {
      const { image, ...behaviour } = body as { image: string } & Partial<Behaviour>
      world.behaviours.set(image, { ...SOUND, ...behaviour })
      return DONE
    }
    case 'POST world':
      world.propagation = body.propagation ?? world.propagation
      for (const region of body.fullRegions ?? []) world.fullRegions.add(region)
      for (const image of body.missingImages ?? []) world.missingImages.add(image)
      return DONE
    case 'POST crash':
      world.lifecycle.crash(world.machine(body.app, body.machine), body.code ?? 1)
      return DONE
    case 'POST say':
      world.say(body.app, body.machine, body.message, body.level)
      return DONE
  }
  return { status: 404, body: { error: 'no such control' } }
}

function program(
  { faults }: FakeFly,
  body: Fault | { schedule: (FaultKind | null)[] } | { chaos: Chaos | null }
): Reply {
  if ('schedule' in body) faults.schedule(body.schedule)
  else if ('chaos' in body) faults.chaos(body.chaos)
  else if (FAULT_KINDS.includes(body.kind)) faults.add(body)
  else return { status: 400, body: { error: `kind is one of ${FAULT_KINDS.join(', ')}` } }
  return DONE
}

function stateOf({ world }: FakeFly): object {
  const apps = world.apps().map(app => ({
    name: app.name,
    organization: app.organization,
    ips: app.ips,
    machines: app.machines.map(machine => machineView(world, machine))
  }))
  return { apps }
}
