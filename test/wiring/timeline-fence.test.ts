import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'
import { Redis } from 'ioredis'
import { sharedFence } from '../../src/wiring/shared-fence.ts'
import { lastSighting, timelineFence } from '../../src/wiring/timeline-fence.ts'
import { redisServer } from '../support/redis.ts'

const fail = (error: unknown) => assert.fail(String(error))

async function pathIn(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'rhone-fence-'))
  t.after(() => rm(directory, { recursive: true, force: true }))
  return join(directory, 'timelines.json')
}

suite('the fence', () => {
  test('keeps the highest timeline of each system, for all processes and after a restart', async t => {
    const path = await pathIn(t)
    const [one, other] = [timelineFence(path, fail), timelineFence(path, fail)]
    assert.equal(one.highest('7'), 0)
    one.raise('7', 3)
    other.raise('7', 2)
    other.raise('8', 1)
    for (const fence of [one, other, timelineFence(path, fail)])
      assert.deepEqual([fence.highest('7'), fence.highest('8')], [3, 1])
  })

  test('is rebuilt if its file is damaged', async t => {
    const path = await pathIn(t)
    await writeFile(path, '{"timelines": 3')
    const fence = timelineFence(path, fail)
    fence.raise('7', 2)
    assert.equal(timelineFence(path, fail).highest('7'), 2)
  })

  test('holds within its process if it cannot be stored, and logs that', async t => {
    const path = await pathIn(t)
    await writeFile(path, '')
    const errors: unknown[] = []
    const fence = timelineFence(join(path, 'below-a-file'), error => errors.push(error))
    fence.raise('7', 2)
    assert.equal(fence.highest('7'), 2)
    assert.equal(errors.length, 1)
  })

  test('stores the last known position of the primary', async t => {
    const path = await pathIn(t)
    assert.equal(lastSighting(path), null)
    timelineFence(path, fail).saw?.({ system: '7', timeline: 1, lsn: 50_331_976n })
    const { at, ...seen } = lastSighting(path)!
    assert.deepEqual(seen, { system: '7', timeline: 1, lsn: 50_331_976n })
    assert.ok(Date.now() - at < 60_000)
  })
})

suite('the fence over Redis', () => {
  test('is known on every machine, and written again to a Redis that lost it', async t => {
    const redis = await redisServer(t)
    if (redis === undefined) return
    const client = new Redis(redis.port, '127.0.0.1')
    t.after(() => client.disconnect())
    const machine = async () => sharedFence(timelineFence(await pathIn(t), fail), () => client, fail)
    const [one, other] = [await machine(), await machine()]
    one.raise('7', 3)
    await one.refresh!()
    await other.refresh!()
    assert.equal(other.highest('7'), 3)

    other.raise('7', 2)
    await other.refresh!()
    assert.equal(await client.zscore('rhone:database-timelines', '7'), '3')

    await client.flushall()
    await one.refresh!()
    const late = await machine()
    await late.refresh!()
    assert.equal(late.highest('7'), 3)
  })

  test('holds on its own machine while Redis is down or has other data, and logs that once', async t => {
    const redis = await redisServer(t)
    if (redis === undefined) return
    const client = new Redis(redis.port, '127.0.0.1')
    t.after(() => client.disconnect())
    const errors: unknown[] = []
    const fence = sharedFence(
      timelineFence(await pathIn(t), fail),
      () => client,
      error => errors.push(error)
    )
    fence.raise('7', 3)
    await client.set('rhone:database-timelines', 'text')
    await fence.refresh!()
    await fence.refresh!()
    assert.match(String(errors), /WRONGTYPE/)
    assert.equal(errors.length, 1)
    client.disconnect()
    await fence.refresh!()
    assert.equal(fence.highest('7'), 3)
    assert.equal(errors.length, 1)
  })
})
