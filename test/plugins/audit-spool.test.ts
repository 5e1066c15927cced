import assert from 'node:assert/strict'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { Registry } from '@platformatic/prom-client'
import Fastify from 'fastify'
import audit, { type AuditRow, fileSpool } from '../../plugins/audit/index.ts'
import { eventually } from '../support/eventually.ts'

const EVENT = { config: { audit: { type: 'app', action: 'delete', resource: 'app' } } } as const

/** A sink that can be unavailable, and its events. */
function memorySink() {
  const rows: AuditRow[] = []
  const sink = {
    rows,
    isAway: false,
    write: async () => {},
    async writeMany(batch: readonly AuditRow[]) {
      if (sink.isAway) throw new Error('connection refused')
      rows.push(...batch)
    }
  }
  return sink
}

async function directory(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'rhone-spool-'))
  t.after(() => rm(path, { recursive: true }))
  return path
}

async function start(t: TestContext, sink: ReturnType<typeof memorySink>, path: string, maxBytes?: number) {
  const registry = new Registry()
  const app = Fastify()
  t.after(() => app.close())
  await app.register(audit, {
    sink,
    registry,
    flushInterval: 1,
    anonymousPerAddress: 1_000,
    spool: fileSpool(path, maxBytes)
  })
  app.delete('/apps/:app', EVENT, (_request, reply) => reply.code(403).send({}))
  await app.ready()
  return { app, registry, refuse: (name: string) => app.inject({ method: 'DELETE', url: `/apps/${name}` }) }
}

const named = (sink: { rows: AuditRow[] }) => sink.rows.map(row => row.resourceId)
const spooled = (path: string) => readdir(path).then(names => names.filter(name => name.endsWith('.json')).length)

test('events of an outage are kept on disk and written in their order when the sink is back', async t => {
  const path = await directory(t)
  const sink = memorySink()
  const { refuse, registry } = await start(t, sink, path)
  sink.isAway = true
  const names = Array.from({ length: 12 }, (_, at) => `app-${at}`)
  for (const [at, name] of names.entries()) {
    await refuse(name)
    await eventually(
      () => spooled(path),
      count => count > at
    )
  }
  sink.isAway = false
  await refuse('after')
  await eventually(
    () => sink.rows.length,
    count => count === 13
  )
  assert.deepEqual(named(sink), [...names, 'after'])
  assert.ok(sink.rows.every(row => row.createdAt instanceof Date))
  assert.equal(await spooled(path), 0)
  assert.match(await registry.metrics(), /rhone_audit_write_failures_total 0\n/)
})

test('events that a process left on disk are written by the next one, and damaged files are set aside', async t => {
  const path = await directory(t)
  const sink = memorySink()
  sink.isAway = true
  const first = await start(t, sink, path)
  await first.refuse('left')
  await first.app.close()
  assert.equal(await spooled(path), 1)
  await writeFile(join(path, '000000000000001-000000-00000000.json'), '[{"id":')

  sink.isAway = false
  await start(t, sink, path)
  await eventually(
    () => sink.rows.length,
    count => count === 1
  )
  assert.deepEqual(named(sink), ['left'])
  await eventually(
    () => readdir(path),
    names => names.join() === '000000000000001-000000-00000000.json.damaged'
  )
})

test('events that do not fit on disk are counted as lost, and logged', async t => {
  const path = await directory(t)
  const sink = memorySink()
  sink.isAway = true
  const { app, refuse, registry } = await start(t, sink, path, 10)
  await refuse('lost')
  await app.close()
  assert.match(await registry.metrics(), /rhone_audit_write_failures_total 1\n/)
})

test('a batch that the database rejects does not block the next ones', async t => {
  const path = await directory(t)
  const sink = memorySink()
  const refusal = Object.assign(new Error('invalid text'), { code: '22021', severity: 'ERROR' })
  const { writeMany } = sink
  sink.isAway = true
  const { refuse, registry } = await start(t, sink, path)
  await refuse('poison')
  await eventually(
    () => spooled(path),
    count => count === 1
  )
  await refuse('good')
  await eventually(
    () => spooled(path),
    count => count === 2
  )
  sink.writeMany = async batch => {
    if (batch.some(row => row.resourceId === 'poison')) throw refusal
    await writeMany(batch)
  }
  sink.isAway = false
  await eventually(
    () => sink.rows.length,
    count => count === 1
  )
  assert.deepEqual(named(sink), ['good'])
  assert.match(await registry.metrics(), /rhone_audit_write_failures_total 1\n/)
})
