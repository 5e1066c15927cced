import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import { inspect } from 'node:util'
import fc from 'fast-check'
import { type FlyDeployer, type FlyOptions, flyDeployer } from '../../integrations/deployer/fly/index.ts'
import { DeployError, type DeployedApp, type Release, type RuntimeLine } from '../../integrations/deployer/port.ts'
import { RemoteError } from '../../plugins/lib/remote.ts'
import { FAULT_KINDS } from '../fakes/fly/faults.ts'
import { type Behaviour, SOUND } from '../fakes/fly/machine.ts'
import { type FakeFly, type FakeFlyOptions, startFakeFly } from '../fakes/fly/server.ts'
import { eventually } from '../support/eventually.ts'
import { repeatedly } from '../support/repeatedly.ts'
import { stays } from '../support/stays.ts'
import { thoroughly } from '../support/thorough.ts'

/** Milliseconds that a second of the fake takes. */
const SECOND = 5
const never = new AbortController().signal

/** Waits as long as in production, in the fake's time. */
const PACE = {
  start: 300 * SECOND,
  stop: 40 * SECOND,
  health: 180 * SECOND,
  healthInterval: SECOND,
  propagation: 10 * SECOND,
  drain: 2 * SECOND,
  pause: SECOND,
  logPoll: SECOND,
  logPause: 10 * SECOND
}

function deployerOf(fly: FakeFly, options: Partial<FlyOptions> = {}): FlyDeployer {
  const { url, token, organization } = fly
  return flyDeployer(
    { token, organization, apiUrl: url, graphqlUrl: `${url}/graphql`, ...PACE, ...options },
    { remote: { backoff: 1, timeout: 2_000, breaker: { failures: 1_000, pause: 1 } } }
  )
}

async function serve(t: TestContext, options: Partial<FlyOptions> = {}, fake: FakeFlyOptions = {}) {
  const fly = await startFakeFly({ second: SECOND, ...fake })
  t.after(() => fly.close())
  return { fly, deployer: deployerOf(fly, options) }
}

/** An app with a stored name, and its rollouts. */
class Owner {
  app: DeployedApp = { id: randomUUID(), slug: 'shop', flyAppId: null }
  said = ''
  readonly names: string[] = []

  release(more: Partial<Release> = {}): Release {
    const image = 'registry.fly.io/shop@sha256:ab'
    return { deploymentId: randomUUID(), app: this.app, image, region: 'cdg', env: { GREETING: 'hi' }, ...more }
  }

  context(signal = never) {
    return {
      signal,
      say: (text: string) => {
        this.said += text
      },
      named: async (flyAppId: string) => {
        this.names.push(flyAppId)
        this.app = { ...this.app, flyAppId }
      }
    }
  }
}

/** A deploy job without a database. */
async function deploy(deployer: FlyDeployer, owner: Owner, release = owner.release()): Promise<Release> {
  await deployer.start(release, owner.context())
  await deployer.serve(release, owner.context())
  await deployer.retire(owner.app, release.deploymentId, never)
  return release
}

const behaviour = (fly: FakeFly, image: string, more: Partial<Behaviour>) =>
  fly.world.behaviours.set(image, { ...SOUND, ...more })

/** The existing machines of an app. */
const machinesOf = (fly: FakeFly, name: string) =>
  fly.world.app(name).machines.filter(({ state }) => state !== 'destroyed' && state !== 'destroying')

const deploymentsOf = (fly: FakeFly, name: string) =>
  machinesOf(fly, name).map(({ config }) => config.metadata?.rhone_deployment_id)

const answers = (fly: FakeFly, name: string) => fly.world.route(name)?.config.metadata?.rhone_deployment_id

test('a first deployment creates an app with addresses and one serving machine', async t => {
  const { fly, deployer } = await serve(t)
  const owner = new Owner()
  assert.equal(deployer.urlOf(owner.app), null)
  const release = await deploy(deployer, owner)
  const name = owner.app.flyAppId!
  assert.match(name, /^rhone-shop-[a-z0-9]{6}$/)
  assert.deepEqual(
    fly.world
      .app(name)
      .ips.map(({ type }) => type)
      .sort(),
    ['shared_v4', 'v6']
  )
  assert.deepEqual(deploymentsOf(fly, name), [release.deploymentId])
  assert.equal(deployer.urlOf(owner.app), `https://${name}.fly.dev`)
  assert.deepEqual(await deployer.running(never), [
    { appId: owner.app.id, flyAppId: name, deploymentId: release.deploymentId, isServing: true, isHealthy: true }
  ])
  assert.match(owner.said, /Starting a machine in cdg[\s\S]*is healthy[\s\S]*Requests now go to this version/)
})

test('a machine is configured as documented, with all env vars of the app', async t => {
  const { fly, deployer } = await serve(t)
  const owner = new Owner()
  const release = await deploy(deployer, owner, owner.release({ env: { GREETING: 'hi', PORT: '1' } }))
  const [machine] = machinesOf(fly, owner.app.flyAppId!)
  const { env, guest, services, checks, restart, stop_config, auto_destroy, metadata, image } = machine!.config
  assert.deepEqual(env, { GREETING: 'hi', PORT: '8080', PRIMARY_REGION: 'cdg' })
  assert.deepEqual(guest, { cpu_kind: 'shared', cpus: 1, memory_mb: 512 })
  assert.deepEqual(services, [
    {
      protocol: 'tcp',
      internal_port: 8080,
      ports: [
        { port: 443, handlers: ['tls', 'http'] },
        { port: 80, handlers: ['http'], force_https: true }
      ],
      concurrency: { type: 'connections', soft_limit: 800, hard_limit: 1000 },
      autostart: false,
      autostop: 'off'
    }
  ])
  assert.deepEqual(checks, {
    health: {
      type: 'http',
      port: 8080,
      method: 'GET',
      path: '/health',
      interval: '10s',
      timeout: '5s',
      grace_period: '30s'
    }
  })
  assert.deepEqual(restart, { policy: 'on-failure', max_retries: 3 })
  assert.deepEqual(stop_config, { signal: 'SIGTERM', timeout: '30s' })
  assert.deepEqual([auto_destroy, image, machine!.region], [false, release.image, 'cdg'])
  assert.deepEqual(metadata, { rhone_app_id: owner.app.id, rhone_deployment_id: release.deploymentId })
})

test('Fly uses the health check and the port of the app', async t => {
  const { fly, deployer } = await serve(t)
  const owner = new Owner()
  const health = { path: '/up', grace: 120, port: 3000 }
  await deploy(deployer, owner, { ...owner.release(), health })
  const { env, services, checks } = machinesOf(fly, owner.app.flyAppId!)[0]!.config
  assert.equal(env?.PORT, '3000')
  assert.partialDeepStrictEqual(services, [{ internal_port: 3000 }])
  assert.partialDeepStrictEqual(checks, { health: { port: 3000, path: '/up', grace_period: '120s' } })
})

test('a second deployment has no downtime: the old version answers until all proxies know the new one', async t => {
  const { fly, deployer } = await serve(t)
  const owner = new Owner()
  const first = await deploy(deployer, owner)
  const name = owner.app.flyAppId!
  fly.world.propagation = 8
  const seen: (string | undefined)[] = []
  const visitor = repeatedly(t.signal, () => seen.push(answers(fly, name)), 1)
  const second = await deploy(deployer, owner)
  await visitor.stop()
  assert.equal(seen.filter(answer => answer === undefined).length, 0)
  assert.deepEqual([seen[0], seen.at(-1)], [first.deploymentId, second.deploymentId])
  assert.deepEqual(deploymentsOf(fly, name), [second.deploymentId])
  assert.equal(owner.names.length, 1)
})

test('the old version gets SIGTERM and 30 s before it is killed', async t => {
  const { fly, deployer } = await serve(t)
  const owner = new Owner()
  behaviour(fly, 'slow', { shutdown: 20 })
  await deploy(deployer, owner, owner.release({ image: 'slow' }))
  const [old] = machinesOf(fly, owner.app.flyAppId!)
  await deploy(deployer, owner)
  const stops = fly.calls.filter(({ operation }) => operation === 'machines.stop')
  assert.deepEqual(
    stops.map(({ body }) => body),
    [{ signal: 'SIGTERM', timeout: '30s' }]
  )
  const exit = old!.events.find(({ type }) => type === 'exit')
  assert.ok(inspect(exit, { depth: 9 }).includes('requested_stop: true'))
})

test('an app that never becomes healthy fails the deployment with an explanation, and leaves nothing', async t => {
  const { fly, deployer } = await serve(t, { health: 20 * SECOND })
  const owner = new Owner()
  const first = await deploy(deployer, owner)
  behaviour(fly, 'sick', { warmup: null })
  const sick = owner.release({ image: 'sick' })
  await assert.rejects(deployer.start(sick, owner.context()), (error: Error) => {
    assert.ok(error instanceof DeployError)
    assert.match(error.message, /did not answer GET \/health on port 8080 with 200 within/)
    return true
  })
  assert.match(owner.said, /GET \/health: connect: connection refused/)
  assert.deepEqual(deploymentsOf(fly, owner.app.flyAppId!), [first.deploymentId])
  assert.equal(answers(fly, owner.app.flyAppId!), first.deploymentId)
})

test('an app that crashes, or runs out of memory, fails immediately with the reason', async t => {
  const { fly, deployer } = await serve(t)
  const owner = new Owner()
  behaviour(fly, 'crash', { warmup: null, exit: { after: 1, code: 3 } })
  behaviour(fly, 'big', { warmup: null, exit: { after: 1, code: 137, oomKilled: true } })
  const failure = async (image: string) => {
    const error = await deployer.start(owner.release({ image }), owner.context()).catch(error => error)
    assert.ok(error instanceof DeployError)
    return error.message
  }
  assert.equal(await failure('crash'), 'The app exited with code 3 before it was ready.')
  assert.equal(await failure('big'), 'The app ran out of memory (512 MB).')
  assert.deepEqual(machinesOf(fly, owner.app.flyAppId!), [])
})

test('a full region and a missing image are not reported as internal failures', async t => {
  const { fly, deployer } = await serve(t)
  const owner = new Owner()
  fly.world.fullRegions.add('cdg')
  fly.world.missingImages.add('lost')
  const message = (release: Release) => deployer.start(release, owner.context()).catch(error => String(error))
  assert.match((await message(owner.release()))!, /^DeployError: The region cdg has no capacity/)
  assert.match((await message(owner.release({ image: 'lost', region: 'iad' })))!, /^DeployError: The image of this/)
  fly.faults.add({ kind: 'fail', operation: 'machines.create', times: 100 })
  const error = await deployer.start(owner.release({ region: 'iad' }), owner.context()).catch(error => error)
  assert.ok(error instanceof RemoteError && !(error instanceof DeployError))
})

test('a version that is not healthy never gets requests', async t => {
  const { fly, deployer } = await serve(t)
  const owner = new Owner()
  const first = await deploy(deployer, owner)
  behaviour(fly, 'fragile', {})
  const fragile = owner.release({ image: 'fragile' })
  await deployer.start(fragile, owner.context())
  behaviour(fly, 'fragile', { warmup: null })
  await assert.rejects(deployer.serve(fragile, owner.context()), /is not healthy, and receives no requests/)
  await assert.rejects(deployer.serve(owner.release(), owner.context()), /is not healthy/)
  assert.equal(answers(fly, owner.app.flyAppId!), first.deploymentId)
})

test('a name is recorded before the app is created, so that a crash causes no second app', async t => {
  const { fly, deployer } = await serve(t)
  const owner = new Owner()
  const release = owner.release()
  const crash = { ...owner.context(), named: async (name: string) => Promise.reject(new Error(`killed at ${name}`)) }
  await assert.rejects(deployer.start(release, crash), /killed at rhone-shop-/)
  assert.deepEqual(fly.world.apps(), [])

  // Killed after the app was created, before anything else was.
  fly.faults.add({ kind: 'fail', operation: 'graphql.app', times: 100 })
  await assert.rejects(deployer.start(release, owner.context()), RemoteError)
  assert.equal(fly.world.apps().length, 1)
  fly.faults.clear()
  await deploy(deployerOf(fly), owner, { ...release, app: owner.app })
  assert.deepEqual(
    fly.world.apps().map(({ name }) => name),
    owner.names
  )
})

test('a taken name is replaced by another one', async t => {
  const { fly, deployer } = await serve(t)
  const owner = new Owner()
  fly.world.createApp('rhone-shop-taken1', 'strangers')
  owner.app = { ...owner.app, flyAppId: 'rhone-shop-taken1' }
  await deploy(deployer, owner)
  assert.equal(owner.names.length, 1)
  assert.notEqual(owner.app.flyAppId, 'rhone-shop-taken1')
  assert.equal(fly.world.app('rhone-shop-taken1').machines.length, 0)
})

test('a long name is truncated to the limit of Fly', async t => {
  const { deployer } = await serve(t)
  const owner = new Owner()
  owner.app = { ...owner.app, slug: `${'a'.repeat(48)}-${'b'.repeat(14)}` }
  await deploy(deployer, owner)
  assert.match(owner.app.flyAppId!, /^rhone-a{48}-[a-z0-9]{6}$/)
})

test('a machine whose creation reply was lost is found again, not created twice', async t => {
  const { fly, deployer } = await serve(t)
  const owner = new Owner()
  fly.faults.add({ kind: 'lose', operation: 'machines.create' })
  const release = await deploy(deployer, owner)
  assert.equal(fly.world.app(owner.app.flyAppId!).machines.length, 1)
  await deployer.start(release, owner.context())
  assert.equal(fly.world.app(owner.app.flyAppId!).machines.length, 1)
})

test('two instances that start the same version concurrently create one machine', async t => {
  const { fly, deployer } = await serve(t)
  const owner = new Owner()
  await deploy(deployer, owner)
  const release = owner.release()
  const other = deployerOf(fly)
  await Promise.all([deployer.start(release, owner.context()), other.start(release, owner.context())])
  assert.equal(machinesOf(fly, owner.app.flyAppId!).length, 2)
  await Promise.all([deployer.serve(release, owner.context()), other.serve(release, owner.context())])
  await Promise.all([deployer, other].map(one => one.retire(owner.app, release.deploymentId, never)))
  assert.deepEqual(deploymentsOf(fly, owner.app.flyAppId!), [release.deploymentId])
})

test('an operation that Fly confirmed but did not perform is detected and repeated', async t => {
  const { fly, deployer } = await serve(t)
  const owner = new Owner()
  await deploy(deployer, owner)
  for (const operation of ['cordon', 'uncordon', 'stop', 'delete', 'create'] as const)
    fly.faults.add({ kind: 'forget', operation: `machines.${operation}` })
  const second = await deploy(deployer, owner)
  assert.deepEqual(deploymentsOf(fly, owner.app.flyAppId!), [second.deploymentId])
  assert.equal(answers(fly, owner.app.flyAppId!), second.deploymentId)
  fly.faults.add({ kind: 'forget', operation: 'apps.delete' })
  await deployer.destroy(owner.app, never)
  assert.deepEqual(fly.world.apps(), [])
})

test('a rate limit is respected for the time that Fly requests', async t => {
  const { fly, deployer } = await serve(t, {}, { second: 20, limits: true })
  const owner = new Owner()
  fly.faults.add({ kind: 'limit', operation: 'machines.create', retryAfter: 0 })
  fly.faults.add({ kind: 'limit', operation: 'machines.list', retryAfter: 1 })
  const release = await deploy(deployer, owner)
  assert.equal(answers(fly, owner.app.flyAppId!), release.deploymentId)
})

test('an interrupted switch is reverted before the new version is stopped', async t => {
  const { fly, deployer } = await serve(t)
  const owner = new Owner()
  const first = await deploy(deployer, owner)
  const name = owner.app.flyAppId!
  const second = owner.release()
  await deployer.start(second, owner.context())
  await deployer.serve(second, owner.context())
  const [old] = machinesOf(fly, name)
  assert.equal(old!.cordoned, true)
  await deployer.retire(owner.app, first.deploymentId, never)
  assert.equal(answers(fly, name), first.deploymentId)
  assert.deepEqual(deploymentsOf(fly, name), [first.deploymentId])
  await assert.rejects(deployer.retire(owner.app, randomUUID(), never), /the serving one is not stopped/)
  assert.equal(answers(fly, name), first.deploymentId)
})

test('a deployment resumes at its step when Fly fails during the wait', async t => {
  const { fly, deployer } = await serve(t)
  const owner = new Owner()
  fly.faults.add({ kind: 'fail', operation: 'machines.get', times: 4 })
  fly.faults.add({ kind: 'hangup', operation: 'machines.get', times: 4 })
  const release = await deploy(deployer, owner)
  assert.equal(answers(fly, owner.app.flyAppId!), release.deploymentId)
})

test('a version that is missing is started again, and one that is down is replaced', async t => {
  const { fly, deployer } = await serve(t)
  const owner = new Owner()
  const release = await deploy(deployer, owner)
  const [machine] = machinesOf(fly, owner.app.flyAppId!)
  fly.world.lifecycle.crash(machine!, 0)
  const [down] = await deployer.running(never)
  assert.deepEqual([down?.isServing, down?.isHealthy], [false, false])
  await deploy(deployer, owner, release)
  assert.notEqual(machinesOf(fly, owner.app.flyAppId!)[0]?.id, machine!.id)
  assert.equal(answers(fly, owner.app.flyAppId!), release.deploymentId)
})

test('a clean-up keeps foreign machines and the version to keep', async t => {
  const { fly, deployer } = await serve(t)
  const owner = new Owner()
  const release = await deploy(deployer, owner)
  const name = owner.app.flyAppId!
  fly.world.createMachine(name, { name: 'debug', config: { image: 'alpine' } })
  fly.world.createApp('rhone-builder', 'rhone')
  fly.world.createMachine('rhone-builder', { config: { image: 'buildkit' } })
  fly.world.createApp('website', 'rhone')
  assert.equal((await deployer.running(never)).length, 1)
  await deployer.retire(owner.app, release.deploymentId, never)
  assert.equal(machinesOf(fly, name).length, 2)
  await deployer.retire(owner.app, null, never)
  assert.deepEqual(
    machinesOf(fly, name).map(machine => machine.name),
    ['debug']
  )
  await deployer.destroy(owner.app, never)
  await deployer.destroy(owner.app, never)
  assert.deepEqual(
    fly.world
      .apps()
      .map(app => app.name)
      .sort(),
    ['rhone-builder', 'website']
  )
})

test('an app that an expired token cannot see does not count as destroyed', async t => {
  const { fly, deployer } = await serve(t)
  const owner = new Owner()
  await deploy(deployer, owner)
  const expired = deployerOf(fly, { token: 'fm2_expired' })
  await assert.rejects(expired.destroy(owner.app, never), RemoteError)
  await assert.rejects(expired.running(never), RemoteError)
  await assert.rejects(expired.ping(), RemoteError)
  await deployer.ping()
  fly.world.createApp('rhone-theirs', 'strangers')
  await deployer.destroy({ ...owner.app, flyAppId: 'rhone-theirs' }, never)
  assert.equal(fly.world.apps('strangers').length, 1)
})

test('an incomplete list of apps is an error', async t => {
  const { fly, deployer } = await serve(t)
  for (let app = 0; app < 20; app++) {
    fly.world.createApp(`rhone-app-${app}`, 'rhone')
    const metadata = { rhone_app_id: `app-${app}`, rhone_deployment_id: 'x' }
    fly.world.createMachine(`rhone-app-${app}`, { config: { image: 'a', metadata } })
  }
  assert.equal(new Set((await deployer.running(never)).map(({ appId }) => appId)).size, 20)
  fly.faults.add({ kind: 'fail', operation: 'machines.list' })
  await assert.rejects(deployer.running(never), RemoteError)
})

test('a rollout that is cancelled ends at once, also while Fly hangs', async t => {
  const { fly, deployer } = await serve(t)
  const owner = new Owner()
  behaviour(fly, 'sick', { warmup: null })
  const reason = new Error('cancelled')
  const cancelled = new AbortController()
  const start = assert.rejects(deployer.start(owner.release({ image: 'sick' }), owner.context(cancelled.signal)), {
    name: 'AbortError'
  })
  await eventually(
    () => owner.said,
    said => said.includes('Waiting for its health check')
  )
  cancelled.abort()
  await start
  // All of them: a call of the first rollout may still be on its way.
  fly.faults.add({ kind: 'hang', times: 100 })
  const calls = fly.calls.length
  const hanging = new AbortController()
  const hung = assert.rejects(deployer.start(owner.release(), owner.context(hanging.signal)), reason)
  await eventually(() => fly.calls.length > calls)
  hanging.abort(reason)
  await hung
  fly.faults.clear()
  await deployer.retire(owner.app, null, never)
  assert.deepEqual(machinesOf(fly, owner.app.flyAppId!), [])
})

test('the token is sent to Fly with the right scheme, and appears in no error', async t => {
  const { fly, deployer } = await serve(t, {}, { token: 'fm2_lJPE-secret' })
  await deployer.ping()
  assert.equal(fly.calls.at(-1)?.authorization, 'FlyV1 fm2_lJPE-secret')
  await deployerOf(fly, { token: 'FlyV1 fm2_lJPE-secret' }).ping()
  fly.faults.add({ kind: 'fail', times: 100, error: 'fm2_lJPE-secret' })
  const owner = new Owner()
  const error = await deployer.start(owner.release({ env: { KEY: 'owner-secret' } }), owner.context()).catch(e => e)
  assert.ok(error instanceof RemoteError)
  assert.doesNotMatch(inspect(error, { depth: 9 }), /secret/)

  const plain = await serve(t, {}, { token: 'personal-token' })
  await plain.deployer.ping()
  assert.equal(plain.fly.calls.at(-1)?.authorization, 'Bearer personal-token')
})

async function take<T>(lines: AsyncIterator<T>, count: number): Promise<T[]> {
  const taken: T[] = []
  while (taken.length < count) taken.push((await lines.next()).value)
  return taken
}
/** Resolves when the log has been requested once more. */
async function nextReading({ calls }: FakeFly): Promise<void> {
  const readings = () => calls.filter(({ operation }) => operation === 'logs').length
  const before = readings()
  await eventually(() => readings() > before)
}

const messageOf = (line: RuntimeLine | { dropped: number }) => ('message' in line ? line.message : line)

test('log lines arrive once each and in order, with their deployment, even while Fly fails', async t => {
  const { fly, deployer } = await serve(t)
  const owner = new Owner()
  const release = await deploy(deployer, owner)
  const name = owner.app.flyAppId!
  const [machine] = machinesOf(fly, name)
  const end = new AbortController()
  t.after(() => end.abort())
  const log = deployer.logs(owner.app, new Date(0), end.signal)[Symbol.asyncIterator]()
  const prepared = (await log.next()).value as RuntimeLine
  assert.equal(prepared.source, 'system')
  const lines = take(log, 250)
  for (let line = 0; line < 250; line++) {
    if (line % 50 === 0) fly.faults.add({ kind: 'hangup', operation: 'logs', times: 4 })
    fly.world.say(name, machine!.id, `line ${line}`, line === 7 ? 'error' : 'info')
    if (line % 25 === 0) await nextReading(fly)
  }
  const said = (await lines) as RuntimeLine[]
  assert.deepEqual(
    said.map(messageOf),
    Array.from({ length: 250 }, (_, line) => `line ${line}`)
  )
  const { at, ...seventh } = said[7]!
  assert.ok(at instanceof Date)
  assert.deepEqual(seventh, {
    appId: owner.app.id,
    deploymentId: release.deploymentId,
    level: 'error',
    source: 'app',
    region: 'cdg',
    instance: machine!.id,
    message: 'line 7'
  })
})

test('logs from now on omit earlier lines, report a gap, and end with the signal', async t => {
  const { fly, deployer } = await serve(t)
  const owner = new Owner()
  await deploy(deployer, owner)
  const name = owner.app.flyAppId!
  const [machine] = machinesOf(fly, name)
  fly.world.say(name, machine!.id, 'before')
  const saidAt = Date.now()
  await eventually(() => Date.now() > saidAt + 1)
  const end = new AbortController()
  const lines = deployer.logs(owner.app, null, end.signal)[Symbol.asyncIterator]()
  const next = async () => messageOf((await lines.next()).value)
  const first = next()
  await nextReading(fly)
  fly.world.say(name, machine!.id, 'one')
  assert.equal(await first, 'one')
  fly.faults.add({ kind: 'fail', operation: 'logs', status: 400 })
  fly.world.say(name, machine!.id, 'two')
  assert.deepEqual([await next(), await next()], [{ dropped: 1 }, 'two'])
  const last = lines.next()
  end.abort()
  assert.equal((await last).done, true)
})

test('an app that was never started has an empty log, not an unreadable one', async t => {
  const { fly, deployer } = await serve(t)
  const end = new AbortController()
  const lines = deployer.logs(new Owner().app, null, end.signal)[Symbol.asyncIterator]()
  const last = lines.next()
  await stays(() => fly.calls.length === 0)
  end.abort()
  assert.equal((await last).done, true)
})

test('metrics come from the Prometheus of Fly, with a single query', async t => {
  const { fly, deployer } = await serve(t)
  const owner = new Owner()
  await deploy(deployer, owner)
  const [machine] = machinesOf(fly, owner.app.flyAppId!)
  const queries: string[] = []
  const of = (figure: string, value: string, instance?: string) => {
    const metric: Record<string, string> = instance === undefined ? { figure } : { figure, instance }
    return { metric, value: [0, value] as [number, string] }
  }
  const MB = 1_048_576
  fly.prometheus = query => {
    queries.push(query)
    return [
      of('cpu', '12.5', machine!.id),
      of('memoryTotal', String(460 * MB), machine!.id),
      of('memoryFree', String(345 * MB), machine!.id),
      of('received', '100'),
      of('sent', '200'),
      of('requests', '3600.4'),
      of('requestRate', '4'),
      of('errorRate', '1'),
      of('latency', 'NaN')
    ]
  }
  assert.deepEqual(await deployer.metrics(owner.app, never), {
    cpuPercent: 12.5,
    memory: { usedMb: 115, totalMb: 460, usedPercent: 25 },
    network: { bytesInPerSec: 100, bytesOutPerSec: 200 },
    requests: { total: 3600, perSec: 4, avgLatencyMs: 0, errorRate: 0.25 },
    instances: [{ id: machine!.id, region: 'cdg', state: 'started', cpuPercent: 12.5, memoryMb: 115 }]
  })
  assert.equal(queries.length, 1)
  assert.ok(queries[0]!.includes(`fly_instance_memory_mem_total{app="${owner.app.flyAppId}"}`))
})

/** Fails the caller after a number of calls to Fly, like a crash. */
function killAfter(fly: FakeFly, calls: number): AbortController {
  const killed = new AbortController()
  const push = fly.calls.push.bind(fly.calls)
  let left = calls
  fly.calls.push = call => {
    left -= 1
    if (left === 0) setImmediate(() => killed.abort(new Error('killed')))
    return push(call)
  }
  return killed
}

const step = fc.record({
  faults: fc.array(fc.option(fc.constantFrom(...FAULT_KINDS), { freq: 1, nil: null }), { maxLength: 40 }),
  killedAfter: fc.option(fc.integer({ min: 1, max: 30 }), { nil: null })
})
type Step = { faults: (null | (typeof FAULT_KINDS)[number])[]; killedAfter: number | null }

/** A deploy job, with what it records in the database: which version is live. */
async function tryToDeploy(deployer: FlyDeployer, owner: Owner, live: Release | null, signal: AbortSignal) {
  const release = owner.release()
  let now = live
  try {
    await deployer.start(release, owner.context(signal))
    await deployer.serve(release, owner.context(signal))
    now = release
  } catch (error) {
    assert.ok(error instanceof Error)
  }
  // It has then failed or been killed, which cannot be distinguished here.
  await deployer.retire(owner.app, now?.deploymentId ?? null, signal).catch(error => assert.ok(error instanceof Error))
  return now
}

test('after any sequence of failures and crashes, one healthy version serves, and nothing else is left', async () => {
  const attempt = async (schedule: readonly Step[]) => {
    const fly = await startFakeFly({ second: 1 })
    try {
      const owner = new Owner()
      let live: Release | null = null
      for (const { faults, killedAfter } of schedule) {
        fly.faults.schedule(faults)
        const { signal } = killedAfter === null ? new AbortController() : killAfter(fly, killedAfter)
        live = await tryToDeploy(hastyDeployerOf(fly), owner, live, signal)
        if (live !== null) assert.ok(answers(fly, owner.app.flyAppId!), 'no machine answers')
      }
      // The next job or the reconciler runs with a working Fly.
      fly.faults.clear()
      const deployer = hastyDeployerOf(fly, 5_000)
      const { deploymentId } = await deploy(deployer, owner, { ...(live ?? owner.release()), app: owner.app })
      assert.deepEqual(await deployer.running(never), [
        { appId: owner.app.id, flyAppId: owner.app.flyAppId, deploymentId, isServing: true, isHealthy: true }
      ])
      assert.equal(fly.world.apps().length, 1, 'an app with an unknown name was left')
      await deployer.destroy(owner.app, never)
      assert.deepEqual(fly.world.apps(), [])
    } finally {
      await fly.close()
    }
  }
  const schedules = fc.array(step, { minLength: 1, maxLength: 3 })
  await fc.assert(fc.asyncProperty(schedules, attempt), {
    seed: 5,
    numRuns: 200,
    interruptAfterTimeLimit: thoroughly(4_000, 100_000)
  })
})

/** Has short timeouts, so that hanging calls are cheap. @param timeout milliseconds, per call */
function hastyDeployerOf(fly: FakeFly, timeout = 40): FlyDeployer {
  const { url, token, organization } = fly
  const pace = Object.fromEntries(Object.entries(PACE).map(([name, time]) => [name, Math.ceil(time / SECOND)]))
  return flyDeployer(
    { token, organization, apiUrl: url, graphqlUrl: `${url}/graphql`, ...pace, rounds: 4 },
    { remote: { backoff: 1, timeout, retries: 1, breaker: { failures: 1_000, pause: 1 } } }
  )
}
