import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { type Operation, randomOf } from '../fakes/fly/faults.ts'
import { SOUND } from '../fakes/fly/machine.ts'
import { eventually } from '../support/eventually.ts'
import { ACTIVE, type Answer, deploymentOf, FlyPlatform, imageOf, killServer } from '../support/fly-platform.ts'
import type { RunningServer } from '../support/process.ts'

/** When a server is killed: at a call to Fly, or while requests go to a version that is not live yet. */
type Moment = Operation | 'before the promotion'
const MOMENTS: readonly Moment[] = ['machines.create', 'machines.uncordon', 'before the promotion', 'machines.stop']

/** One app, whose owner keeps changing it, and servers that are killed. */
class Scenario {
  readonly accepted = new Set<string>()
  /** Gaps in serving, with the machines at Fly at that time. */
  readonly outages: string[] = []
  readonly random: () => number
  readonly #platform: FlyPlatform
  #server: RunningServer
  #appId = ''
  #probe: NodeJS.Timeout | undefined
  #versions = 0

  constructor(t: TestContext, platform: FlyPlatform, server: RunningServer, seed: number) {
    this.#platform = platform
    this.#server = server
    this.random = randomOf(seed)
    t.after(() => clearInterval(this.#probe))
  }

  /** Creates the app on a server that dies before it takes the job, and monitors it from its first success on. */
  async begin(): Promise<void> {
    const { status, body } = await this.#ask('POST', '/apps', { name: 'Website' })
    assert.equal(status, 201, JSON.stringify(body))
    this.#appId = body.id
    const first = await this.deploy()
    await killServer(this.#server)
    assert.equal(await this.#statusOf(first), 'pending')
    this.#server = await this.#platform.start()
    await this.settled()
    const answering = () => this.#platform.answering(this.#appId)
    await eventually(answering, machine => machine !== null)
    this.#probe = setInterval(() => {
      if (answering() === null) this.outages.push(this.#seen())
    }, 5)
  }

  /** Deploys a version that runs, or one that crashes. @returns the deployment */
  async deploy(isSound = true): Promise<string> {
    const image = imageOf(`version ${++this.#versions}`)
    if (!isSound) this.#platform.fly.world.behaviours.set(image, { ...SOUND, exit: { after: 0.1, code: 1 } })
    const { status, body } = await this.#ask('POST', '/apps/website/deploy', { image })
    assert.equal(status, 202, JSON.stringify(body))
    return body.id
  }

  /** Random, contradictory requests of a user. */
  async vacillate(): Promise<void> {
    for (let left = 1 + this.#below(3); left > 0; left--) {
      const choice = this.random()
      if (choice < 0.5) await this.deploy(choice < 0.35)
      else if (choice < 0.75) await this.#ask('POST', '/apps/website/rollback', {})
      else await this.#cancelNewest()
      await delay(this.#below(300))
    }
  }

  async #cancelNewest(): Promise<void> {
    const { body } = await this.#ask('GET', '/apps/website/deployments?limit=1')
    const [{ id }] = body.items
    const { status } = await this.#ask('POST', `/apps/website/deployments/${id}/cancel`)
    assert.ok([202, 409].includes(status), `a cancellation is answered with ${status}`)
  }

  /** Kills the server at this point of a deployment, and starts another one. */
  async dieAt(moment: Moment): Promise<void> {
    if (moment === 'before the promotion') await this.#dieBeforePromotion()
    else await this.#dieAtCall(moment)
    this.#server = await this.#platform.start()
  }

  /** Locks the app's row, so that the promotion has to wait. */
  async #dieBeforePromotion(): Promise<void> {
    const { sql } = this.#platform
    await this.#untilKilled(async id => {
      await sql.begin(async tx => {
        await tx`select from apps where id = ${this.#appId} for no key update`
        await eventually(
          async () => (await this.#isWaiting()) || !ACTIVE.includes(await this.#statusOf(id)),
          answer => answer
        )
        if ((await this.#statusOf(id)) === 'deploying') await killServer(this.#server)
      })
    })
  }

  async #dieAtCall(operation: Operation): Promise<void> {
    this.#platform.onNext(operation, () => this.#server.child.kill('SIGKILL'))
    await this.#untilKilled(async id => {
      await eventually(
        async () => this.#isDead || !(ACTIVE.includes(await this.#statusOf(id)) || (await this.#hasJobs())),
        answer => answer
      )
    })
  }

  /** A deployment that fails at Fly before this point is repeated. */
  async #untilKilled(work: (id: string) => Promise<void>): Promise<void> {
    for (let tries = 0; tries < 5 && !this.#isDead; tries++) await work(await this.deploy())
    assert.ok(this.#isDead, 'no deployment has reached the point where the server is killed')
    await this.#server.exited
  }

  /** The current server. */
  get server(): RunningServer {
    return this.#server
  }

  get #isDead(): boolean {
    return this.#server.child.killed
  }

  async #isWaiting(): Promise<boolean> {
    const rows = await this.#platform.sql`select from pg_stat_activity
      where datname = current_database() and wait_event_type = 'Lock'`
    return rows.length > 0
  }

  async #hasJobs(): Promise<boolean> {
    return (await this.#platform.sql`select from pgboss.job where name = 'deploy' and state <= 'active'`).length > 0
  }

  /** Resolves when every deployment that was accepted has ended, and nothing is left to do. */
  async settled(): Promise<void> {
    await eventually(
      async () => ((await this.#hasJobs()) ? ['jobs'] : await this.#unfinished()),
      unfinished => unfinished.length === 0
    )
  }

  async #unfinished(): Promise<string[]> {
    const rows = await this.#platform.sql<{ id: string; status: string }[]>`select id, status from deployments`
    const ended = new Set(rows.filter(({ status }) => !ACTIVE.includes(status)).map(({ id }) => id))
    return [...new Set([...this.accepted, ...rows.map(({ id }) => id)])].filter(id => !ended.has(id))
  }

  /** Checks that there is exactly one of everything. */
  async outcome() {
    const live = await this.#platform.sql<{ id: string }[]>`select id from deployments where status = 'live'`
    const answering = this.#platform.answering(this.#appId)
    return {
      live: live.map(({ id }) => id),
      answering: answering && deploymentOf(answering),
      machines: this.#platform.machines().map(deploymentOf),
      apps: this.#platform.fly.world.apps().length,
      unfinished: await this.#unfinished()
    }
  }

  async #statusOf(id: string): Promise<string> {
    const [row] = await this.#platform.sql<{ status: string }[]>`select status from deployments where id = ${id}`
    return row!.status
  }

  async #ask(method: string, path: string, body?: object): Promise<Answer> {
    const answer = await this.#platform.ask(this.#server, method, path, body)
    if (answer.status === 202) this.accepted.add(answer.body.id)
    return answer
  }

  #seen(): string {
    return this.#platform
      .machines()
      .map(machine => `${deploymentOf(machine)} ${machine.state}${machine.cordoned ? ' (cordoned)' : ''}`)
      .join(', ')
  }

  #below(limit: number): number {
    return Math.floor(this.random() * limit)
  }
}

test('a server that is killed repeatedly', async t => {
  const platform = await FlyPlatform.create(t)
  let last: RunningServer

  await t.test(
    'whatever fails at Fly and whenever that happens, no deployment is lost and somebody answers all the time',
    async t => {
      last = await outlivesServers(t, platform)
    }
  )
  await t.test('an app deleted during a deployment leaves nothing at Fly, despite crashes', () =>
    leavesNothing(platform, last)
  )
})

async function outlivesServers(t: TestContext, platform: FlyPlatform): Promise<RunningServer> {
  const seed = Number(process.env.SEED ?? randomInt(2 ** 31))
  t.diagnostic(`SEED=${seed}`)
  const scenario = new Scenario(t, platform, await platform.startIdle(), seed)
  await scenario.begin()

  platform.fly.faults.chaos({ seed, rate: 0.1 })
  const order = MOMENTS.map(moment => ({ moment, at: scenario.random() })).sort((one, other) => one.at - other.at)
  for (const { moment } of order) {
    await scenario.dieAt(moment)
    await scenario.vacillate()
    await scenario.settled()
  }
  platform.fly.faults.clear()

  const { live } = await eventually(
    () => scenario.outcome(),
    ({ live: [id], ...rest }) => {
      const isSame = (found: unknown) => JSON.stringify(found) === JSON.stringify(id)
      return (
        isSame(rest.answering) && rest.machines.length === 1 && isSame(rest.machines[0]) && rest.unfinished.length === 0
      )
    }
  )
  assert.equal(live.length, 1)
  assert.equal((await scenario.outcome()).apps, 1)
  assert.deepEqual(scenario.outages, [], 'the app has always answered')
  return scenario.server
}

async function leavesNothing(platform: FlyPlatform, running: RunningServer): Promise<void> {
  let server = running
  assert.equal((await platform.ask(server, 'DELETE', '/apps/website')).status, 204)
  await nothingIsLeft(platform)
  for (const [name, operation] of [
    ['early', 'apps.create'],
    ['late', 'machines.create'],
    ['live', 'machines.stop']
  ] as const) {
    assert.equal((await platform.ask(server, 'POST', '/apps', { name })).status, 201)
    const deploy = (image: string) => platform.ask(server, 'POST', `/apps/${name}/deploy`, { image })
    if (operation === 'machines.stop') {
      const { body } = await deploy(imageOf('first'))
      await eventually(
        async () => (await platform.ask(server, 'GET', `/apps/${name}/deployments/${body.id}`)).body.status,
        status => status === 'live'
      )
    }
    const reached = Promise.withResolvers<void>()
    platform.onNext(operation, reached.resolve)
    assert.equal((await deploy(imageOf('second'))).status, 202)
    await reached.promise
    assert.equal((await platform.ask(server, 'DELETE', `/apps/${name}`)).status, 204)
    if (operation === 'machines.create') {
      await killServer(server)
      server = await platform.start()
    }
    await nothingIsLeft(platform)
  }
}

async function nothingIsLeft({ fly, sql }: FlyPlatform): Promise<void> {
  await eventually(
    async () => ({
      apps: fly.world.apps().map(app => app.name),
      tombstones: await sql`select app_id from app_tombstones`
    }),
    ({ apps, tombstones }) => apps.length === 0 && tombstones.length === 0
  )
}
