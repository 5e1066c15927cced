import assert from 'node:assert/strict'
import { test } from 'node:test'
import { eventually } from '../support/eventually.ts'
import { deploymentOf, FlyPlatform, imageOf, killServer } from '../support/fly-platform.ts'
import type { RunningServer } from '../support/process.ts'

test('two instances share the work, and each deployment is processed once', async t => {
  const platform = await FlyPlatform.create(t)
  const servers = await Promise.all([platform.startPatient(), platform.startPatient()])
  const [one, other] = servers
  const slugs = Array.from({ length: 6 }, (_, index) => `app-${index}`)
  const deploy = async (server: RunningServer, slug: string, version: string): Promise<string> => {
    const { status, body } = await platform.ask(server, 'POST', `/apps/${slug}/deploy`, { image: imageOf(version) })
    assert.equal(status, 202, JSON.stringify(body))
    return body.id
  }
  const ended = async () => {
    const rows = await platform.sql<{ id: string; status: string }[]>`select id, status from deployments`
    const jobs = await platform.sql`select from pgboss.job where name = 'deploy' and state <= 'active'`
    return jobs.length === 0 ? rows : []
  }
  for (const name of slugs) assert.equal((await platform.ask(one, 'POST', '/apps', { name })).status, 201)
  const firsts = await Promise.all(slugs.map((slug, index) => deploy(servers[index % 2]!, slug, 'first')))
  await eventually(ended, rows => rows.length === 6)
  const seconds = await Promise.all(slugs.map((slug, index) => deploy(servers[index % 2]!, slug, 'second')))
  const rows = await eventually(ended, rows => rows.length === 12)

  const statuses = new Map(rows.map(({ id, status }) => [id, status]))
  assert.deepEqual(
    [...firsts, ...seconds].map(id => statuses.get(id)),
    [...firsts.map(() => 'superseded'), ...seconds.map(() => 'live')]
  )
  assert.deepEqual(platform.machines().map(deploymentOf).sort(), seconds.sort())
  const created = platform.fly.calls.filter(({ operation }) => operation === 'machines.create')
  assert.equal(created.length, 12)

  const worked = await eventually(
    () => servers.map(server => workedOn(server).filter(id => statuses.has(id))),
    ended => ended.flat().length >= rows.length
  )
  assert.ok(worked[0]!.length > 0 && worked[1]!.length > 0, `shared as ${worked.map(({ length }) => length)}`)
  assert.deepEqual(worked.flat().sort(), [...firsts, ...seconds].sort())
  await Promise.all([killServer(one), killServer(other)])
})

/** The jobs that a server has finished: deployments, by id, and repairs of the reconciler. */
function workedOn(server: RunningServer): string[] {
  const ends = server.logs().filter(({ queue, msg }) => queue === 'deploy' && msg === 'a job has finished')
  return ends.map(({ jobId }) => String(jobId))
}

test('a server that stalled in a rollout changes nothing when it resumes: another one has continued', async t => {
  const platform = await FlyPlatform.create(t)
  const stalled = await platform.start()
  const { status, body: app } = await platform.ask(stalled, 'POST', '/apps', { name: 'website' })
  assert.equal(status, 201, JSON.stringify(app))
  const deploy = async (server: RunningServer, version: string): Promise<string> => {
    const { status, body } = await platform.ask(server, 'POST', '/apps/website/deploy', { image: imageOf(version) })
    assert.equal(status, 202, JSON.stringify(body))
    return body.id
  }
  const live = async (id: string) => {
    await eventually(
      () => platform.sql`select id from deployments where status = 'live'`,
      rows => rows[0]?.id === id
    )
    await eventually(
      () => platform.machines().map(deploymentOf),
      found => found.length === 1
    )
  }
  await live(await deploy(stalled, 'first'))

  const reached = Promise.withResolvers<void>()
  platform.onNext('machines.cordon', () => {
    stalled.child.kill('SIGSTOP')
    reached.resolve()
  })
  const second = await deploy(stalled, 'second')
  await reached.promise
  const other = await platform.start()
  await live(second)
  const third = await deploy(other, 'third')
  await live(third)

  stalled.child.kill('SIGCONT')
  await eventually(
    () => {
      const answering = platform.answering(app.id)
      assert.equal(answering && deploymentOf(answering), third)
      return stalled.logs()
    },
    lines => lines.some(({ msg }) => msg === 'a job was reassigned while it was still running')
  )
  assert.deepEqual(platform.machines().map(deploymentOf), [third])
})
