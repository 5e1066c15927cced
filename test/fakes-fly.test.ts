import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type TestContext, test } from 'node:test'
import flyAdmin from 'fly-admin/dist/client.js'
import { SOUND } from './fakes/fly/machine.ts'
import { type FakeFlyOptions, startFakeFly } from './fakes/fly/server.ts'
import { eventually } from './support/eventually.ts'
import { stays } from './support/stays.ts'

const Client = flyAdmin.default

/** A Fly whose second takes 20 ms, and the client that Supabase has published for it. */
async function serve(t: TestContext, options: FakeFlyOptions = {}) {
  const fly = await startFakeFly({ second: 20, ...options })
  t.after(() => fly.close())
  const client = new Client(fly.token, { apiUrl: fly.url, graphqlUrl: fly.url })
  return { fly, client }
}

const config = {
  image: 'registry.fly.io/shop@sha256:ab',
  metadata: { colour: 'green' },
  checks: { health: { type: 'http' as const, port: 8080, interval: '10s', timeout: '5s' } }
}
const refused = (status: number, text: RegExp) => (error: unknown) => {
  assert.match(String(error), new RegExp(`^Error: ${status}: `))
  assert.match(String(error), text)
  return true
}

test('a published client creates an app, gives it addresses, finds it and deletes it', async t => {
  const { client } = await serve(t)
  await client.App.createApp({ org_slug: 'rhone', app_name: 'shop' })
  await assert.rejects(client.App.createApp({ org_slug: 'rhone', app_name: 'shop' }), refused(422, /name_taken/))
  const { allocateIpAddress } = await client.Network.allocateIpAddress({ appId: 'shop', type: 'v6' as never })
  assert.match(allocateIpAddress.ipAddress!.address, /^2a09:/)
  assert.deepEqual(
    (await client.App.getAppDetailed('shop')).ipAddresses.map(({ type }) => type),
    ['v6']
  )
  assert.deepEqual(
    (await client.App.listApps('rhone')).apps.map(({ name, machine_count }) => [name, machine_count]),
    [['shop', 0]]
  )
  assert.equal((await client.App.getApp('shop')).organization.slug, 'rhone')
  await client.App.deleteApp('shop')
  await assert.rejects(client.App.getApp('shop'), refused(404, /app not found/))
})

test('a published client takes a machine through its whole life', async t => {
  const { fly, client } = await serve(t)
  fly.world.behaviours.set(config.image, { ...SOUND, warmup: 50 })
  await client.App.createApp({ org_slug: 'rhone', app_name: 'shop' })
  const made = await client.Machine.createMachine({ app_name: 'shop', name: 'web', region: 'cdg', config })
  const machine = { app_name: 'shop', machine_id: made.id }
  assert.deepEqual([made.state, made.region, made.image_ref.repository], ['created', 'cdg', 'shop'])
  assert.deepEqual(await client.Machine.waitMachine({ ...machine, state: 'started' as never }), { ok: true })

  const started = await client.Machine.getMachine(machine)
  assert.deepEqual([started.state, started.checks[0]?.status], ['started', 'critical'])
  await eventually(
    async () => (await client.Machine.getMachine(machine)).checks[0]?.status,
    status => status === 'passing'
  )

  await client.Machine.stopMachine(machine)
  await assert.rejects(
    client.Machine.waitMachine({ ...machine, state: 'stopped' as never }),
    refused(400, /instance_id/)
  )
  const stopped = { ...machine, instance_id: made.instance_id, state: 'stopped' as never }
  assert.deepEqual(await client.Machine.waitMachine(stopped), { ok: true })
  await client.Machine.startMachine(machine)
  await client.Machine.waitMachine(machine)
  await assert.rejects(client.Machine.startMachine(machine), refused(412, /failed_precondition/))
  await assert.rejects(client.Machine.deleteMachine(machine), refused(412, /not currently stopped/))

  const events = await client.Machine.listEvents(machine)
  assert.deepEqual(
    events.map(({ type }) => type),
    ['start', 'exit', 'start', 'launch']
  )
  await client.Machine.deleteMachine({ ...machine, force: true })
  await client.Machine.waitMachine({ ...machine, state: 'destroyed' as never })
  assert.deepEqual(await client.Machine.listMachines('shop'), [])
  assert.equal((await client.Machine.listMachines({ app_name: 'shop', include_deleted: '' })).length, 1)
})

test('waiting ends with 408 when the time is up', async t => {
  const { client } = await serve(t)
  await client.App.createApp({ org_slug: 'rhone', app_name: 'shop' })
  const { id } = await client.Machine.createMachine({ app_name: 'shop', config, skip_launch: true })
  const wait = client.Machine.waitMachine({ app_name: 'shop', machine_id: id, timeout: '2s' })
  await assert.rejects(wait, refused(408, /deadline_exceeded/))
})

test('an update creates a new version that replaces the old one', async t => {
  const { client } = await serve(t)
  await client.App.createApp({ org_slug: 'rhone', app_name: 'shop' })
  const made = await client.Machine.createMachine({ app_name: 'shop', config })
  const machine = { app_name: 'shop', machine_id: made.id }
  const updated = await client.Machine.updateMachine({ ...machine, config: { ...config, image: 'other' } })
  assert.notEqual(updated.instance_id, made.instance_id)
  const versions = await client.Machine.listVersions(machine)
  assert.deepEqual(
    versions.map(({ version }) => version),
    [updated.instance_id, made.instance_id]
  )
  await client.Machine.waitMachine(machine)
  const old = client.Machine.waitMachine({ ...machine, instance_id: made.instance_id, timeout: '1s' })
  await assert.rejects(old, refused(408, /./))
})

test('a leased machine can only be changed by the holder of the lease', async t => {
  const { fly, client } = await serve(t)
  await client.App.createApp({ org_slug: 'rhone', app_name: 'shop' })
  const { id } = await client.Machine.createMachine({ app_name: 'shop', config })
  const machine = { app_name: 'shop', machine_id: id }
  const { data } = await client.Machine.acquireLease({ ...machine, ttl: 500 })
  assert.equal((await client.Machine.getLease(machine)).data.nonce, data.nonce)
  await assert.rejects(client.Machine.acquireLease({ ...machine, ttl: 5 }), refused(409, /lease currently held/))
  await assert.rejects(client.Machine.cordonMachine(machine), refused(409, /lease currently held/))
  const headers = { authorization: `Bearer ${fly.token}`, 'fly-machine-lease-nonce': data.nonce }
  const act = (method: string, path: string) =>
    fetch(`${fly.url}/v1/apps/shop/machines/${id}/${path}`, { method, headers })
  assert.equal((await act('POST', 'cordon')).status, 200)
  assert.equal((await act('DELETE', 'lease')).status, 200)
  await client.Machine.uncordonMachine(machine)
})

test('requests go to machines that are open, started and healthy, once the proxies know', async t => {
  const { fly, client } = await serve(t)
  fly.world.propagation = 50
  await client.App.createApp({ org_slug: 'rhone', app_name: 'shop' })
  const { id } = await client.Machine.createMachine({ app_name: 'shop', config, skip_service_registration: true })
  const machine = { app_name: 'shop', machine_id: id }
  const request = () => fetch(`${fly.url}/_fake/apps/shop/request`).then(({ status }) => status)
  await client.Machine.waitMachine(machine)
  await stays(async () => (await request()) === 503)
  await client.Machine.uncordonMachine(machine)
  assert.equal(await request(), 503)
  await eventually(request, status => status === 200)
  await client.Machine.cordonMachine(machine)
  assert.equal(await request(), 503)
})

test('machines are found by their metadata, which can be changed', async t => {
  const { fly, client } = await serve(t)
  await client.App.createApp({ org_slug: 'rhone', app_name: 'shop' })
  const { id } = await client.Machine.createMachine({ app_name: 'shop', config })
  const count = async (colour: string) => {
    const filter = { app_name: 'shop', 'metadata.colour': colour } as never
    return (await client.Machine.listMachines(filter)).length
  }
  assert.deepEqual([await count('green'), await count('blue')], [1, 0])
  const headers = { authorization: `FlyV1 ${fly.token}` }
  const path = `${fly.url}/v1/apps/shop/machines/${id}/metadata/colour`
  await fetch(path, { method: 'POST', headers, body: JSON.stringify({ value: 'blue' }) })
  assert.deepEqual([await count('green'), await count('blue')], [0, 1])
})

test('a failing program is restarted as often as its machine allows', async t => {
  const { fly, client } = await serve(t)
  fly.world.behaviours.set(config.image, { startup: 0.2, warmup: null, exit: { after: 0.2, code: 3 }, shutdown: 0 })
  await client.App.createApp({ org_slug: 'rhone', app_name: 'shop' })
  const restart = { policy: 'on-failure' as never, max_retries: 2 }
  const { id, instance_id } = await client.Machine.createMachine({ app_name: 'shop', config: { ...config, restart } })
  const machine = { app_name: 'shop', machine_id: id }
  await client.Machine.waitMachine({ ...machine, instance_id, state: 'stopped' as never })
  const exits = (await client.Machine.listEvents(machine)).filter(({ type }) => type === 'exit')
  assert.equal(exits.length, 3)
})

test('a request without a token gets 401, and rates are limited on request', async t => {
  const { fly, client } = await serve(t, { limits: true })
  const stranger = new Client('wrong', { apiUrl: fly.url, graphqlUrl: fly.url })
  await assert.rejects(stranger.App.listApps('rhone'), refused(401, /token validation error/))
  await client.App.createApp({ org_slug: 'rhone', app_name: 'shop' })
  const calls = Array.from({ length: 8 }, () => client.Machine.listMachines('shop'))
  const outcomes = await Promise.allSettled(calls)
  assert.ok(outcomes.some(({ status }) => status === 'rejected'))
  assert.ok(outcomes.filter(({ status }) => status === 'fulfilled').length >= 3)
})

test('every call can fail, hang, be limited, be forgotten, or lose its answer', async t => {
  const { fly, client } = await serve(t)
  const create = (name: string) => client.App.createApp({ org_slug: 'rhone', app_name: name })
  const exists = (name: string) => fly.world.apps().some(app => app.name === name)
  fly.faults.add({ kind: 'fail', operation: 'apps.create', status: 503 })
  await assert.rejects(create('failed'), refused(503, /./))
  fly.faults.add({ kind: 'limit', operation: 'apps.create' })
  await assert.rejects(create('limited'), refused(429, /rate limit/))
  fly.faults.add({ kind: 'forget', operation: 'apps.create' })
  await create('forgotten')
  fly.faults.schedule(['lose', 'hangup'])
  await assert.rejects(create('lost'))
  await assert.rejects(create('hung-up'))
  const found = ['failed', 'limited', 'forgotten', 'lost', 'hung-up'].filter(exists)
  assert.deepEqual(found, ['lost'])
  fly.faults.add({ kind: 'hang', operation: 'apps.get' })
  const signal = AbortSignal.timeout(50)
  await assert.rejects(fetch(`${fly.url}/v1/apps/lost`, { headers: { authorization: `Bearer ${fly.token}` }, signal }))
})

test('the same seed makes the same calls fail', async t => {
  const outcomes: number[][] = []
  for (let run = 0; run < 2; run++) {
    const { fly } = await serve(t)
    fly.faults.chaos({ seed: 7, rate: 0.5, kinds: ['fail', 'limit'] })
    const headers = { authorization: `Bearer ${fly.token}` }
    const statuses: number[] = []
    for (let call = 0; call < 12; call++) statuses.push((await fetch(`${fly.url}/v1/apps/none`, { headers })).status)
    outcomes.push(statuses)
  }
  assert.deepEqual(outcomes[0], outcomes[1])
  assert.deepEqual([...new Set(outcomes[0])].sort(), [404, 429, 500])
})

test('it runs as a separate process that is controlled over HTTP', async t => {
  const main = join(import.meta.dirname, 'fakes/fly/main.ts')
  const child = spawn(process.execPath, [main, '--second=10'], { stdio: ['ignore', 'pipe', 'inherit'] })
  const closed = once(child, 'exit')
  t.after(() => child.kill('SIGKILL'))
  const [line] = (await once(createInterface(child.stdout), 'line')) as [string]
  const { url, token } = JSON.parse(line) as { url: string; token: string }
  const tell = (path: string, body: object) =>
    fetch(`${url}/_fake/${path}`, { method: 'POST', body: JSON.stringify(body) })
  const client = new Client(token, { apiUrl: url, graphqlUrl: url })
  await tell('faults', { kind: 'fail', operation: 'apps.create', status: 502 })
  await assert.rejects(client.App.createApp({ org_slug: 'rhone', app_name: 'shop' }), refused(502, /./))
  await client.App.createApp({ org_slug: 'rhone', app_name: 'shop' })
  await tell('behaviours', { image: config.image, warmup: 0 })
  const { id } = await client.Machine.createMachine({ app_name: 'shop', config })
  await client.Machine.waitMachine({ app_name: 'shop', machine_id: id })
  await tell('say', { app: 'shop', machine: id, message: 'hello' })
  await tell('crash', { app: 'shop', machine: id, code: 0 })
  const { apps } = (await (await fetch(`${url}/_fake/state`)).json()) as { apps: { machines: { state: string }[] }[] }
  assert.deepEqual(
    apps[0]?.machines.map(({ state }) => state),
    ['stopped']
  )
  child.kill('SIGTERM')
  assert.deepEqual(await closed, [0, null])
})
