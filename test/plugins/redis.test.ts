import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer } from 'node:net'
import { pipeline } from 'node:stream'
import { suite, type TestContext, test } from 'node:test'
import { Registry } from '@platformatic/prom-client'
import Fastify, { type FastifyInstance } from 'fastify'
import type { Redis } from 'ioredis'
import redis, { type RedisDeps, type RedisOptions } from '../../plugins/redis/index.ts'
import { redisTarget } from '../../plugins/redis/target.ts'
import { eventually } from '../support/eventually.ts'
import { freePort } from '../support/free-port.ts'
import { redisServer, startRedis } from '../support/redis.ts'

suite('a Redis URL', () => {
  for (const [url, expected] of [
    ['redis://cache.internal', { kind: 'server', nodes: [{ host: 'cache.internal', port: 6379 }], tls: false, db: 0 }],
    [
      'rediss://:s%40fe@h:6380/2',
      { kind: 'server', tls: true, password: 's@fe', db: 2, nodes: [{ host: 'h', port: 6380 }] }
    ],
    ['redis://app:pw@[::1]:6379', { username: 'app', password: 'pw', nodes: [{ host: '::1', port: 6379 }] }],
    [
      'redis://a:1,b:2',
      {
        kind: 'cluster',
        nodes: [
          { host: 'a', port: 1 },
          { host: 'b', port: 2 }
        ]
      }
    ],
    ['rediss+cluster://a', { kind: 'cluster', tls: true, nodes: [{ host: 'a', port: 6379 }] }],
    [
      'redis+sentinel://u:p@a,b:1/mymaster/3',
      {
        kind: 'sentinel',
        master: 'mymaster',
        db: 3,
        username: 'u',
        nodes: [
          { host: 'a', port: 26379 },
          { host: 'b', port: 1 }
        ]
      }
    ]
  ] as const)
    test(`is read: ${url}`, () => {
      assert.partialDeepStrictEqual(redisTarget(url), expected)
    })

  for (const [url, complaint] of [
    ['http://h', /must have the form/],
    ['redis://h/first', /database number/],
    ['redis://a,b/1', /a cluster has only 0/],
    ['redis+sentinel://a', /names no master/]
  ] as const)
    test(`is refused: ${url}`, () => {
      assert.throws(() => redisTarget(url), complaint)
    })
})

suite('redis', () => {
  test('names what is missing if it is not configured', async () => {
    await assert.rejects(async () => Fastify().register(redis), /rhone-redis: option "url" is required/)
  })

  test('warns only about a server that evicts keys when it is full', async t => {
    for (const [policy, expected] of [
      ['allkeys-lru', 1],
      ['noeviction', 0]
    ] as const) {
      const server = await redisServer(t, ['--maxmemory', '10mb', '--maxmemory-policy', policy])
      if (server === undefined) return
      const lines: string[] = []
      const app = Fastify({ logger: { stream: { write: line => void lines.push(line) } } })
      t.after(() => app.close())
      await app.register(redis, { url: server.url })
      await isUp(app)
      // Answers come in order, so the query for the policy has been answered by then.
      await app.redis.ping()
      await app.redis.ping()
      assert.equal(lines.filter(line => line.includes('maxmemory-policy')).length, expected, policy)
    }
  })

  test('connects to a server, and disconnects when the app closes', async t => {
    const server = await redisServer(t)
    if (server === undefined) return
    const app = await start(t, { url: server.url })
    await isUp(app)
    await app.redis.set('key', 'value')
    assert.equal(await app.redis.get('key'), 'value')
    const ended = event(app, 'end')
    await app.close()
    await ended
  })

  test('signs in as an ACL user, in the database of the URL', async t => {
    const server = await redisServer(t, [
      '--user',
      'default',
      'off',
      '--user',
      'app',
      'on',
      '>se:cret',
      '~*',
      '&*',
      '+@all'
    ])
    if (server === undefined) return
    const app = await start(t, { url: `redis://app:${encodeURIComponent('se:cret')}@127.0.0.1:${server.port}/3` })
    await isUp(app)
    assert.match(String(await app.redis.call('client', 'info')), /user=app.* db=3|db=3.* user=app/)
  })

  test('lets the server boot without it, fails every command at once, and is used once it is there', async t => {
    const port = await freePort()
    // Within the time of the test, no command could fail by its own timeout.
    const app = await start(t, { url: `redis://127.0.0.1:${port}`, commandTimeout: 3_600_000 })
    for (let i = 0; i < 100; i++) await assert.rejects(app.redis.get('key'))

    if ((await startRedis(t, port)) === undefined) return t.skip('redis-server is not installed')
    await isUp(app)
    assert.equal(await app.redis.get('key'), null)
  })

  test('drops the connection to a server that became a replica, and looks up the primary again', async t => {
    const server = await redisServer(t)
    if (server === undefined) return
    const app = await start(t, { url: server.url })
    await isUp(app)
    const client = app.redis as Redis
    await client.replicaof('127.0.0.1', await freePort())
    const left = event(app, 'close')
    await assert.rejects(client.set('key', 'value'), /READONLY/)
    await left
    await isUp(app)
    await client.replicaof('NO', 'ONE')
    assert.equal(await client.set('key', 'value'), 'OK')
  })

  test('writes to the new primary of a name within 3 s, though its connection to the old one stays open', async t => {
    const [old, next] = [await redisServer(t), await redisServer(t)]
    if (old === undefined || next === undefined) return
    let primary = old.port
    const name = createServer(client => {
      const onward = connect(primary, '127.0.0.1')
      pipeline(client, onward, client, () => {})
    }).listen(0, '127.0.0.1')
    await once(name, 'listening')
    t.after(() => name.close())
    const app = await start(t, { url: `redis://127.0.0.1:${(name.address() as AddressInfo).port}` })
    await isUp(app)
    await app.redis.set('key', 'before')

    primary = next.port
    const demoted = performance.now()
    await (app.redis as Redis).replicaof('127.0.0.1', next.port)
    await eventually(() =>
      app.redis.set('key', 'after').then(
        () => true,
        () => false
      )
    )
    const took = performance.now() - demoted
    assert.ok(took < 3_000, `${took} ms`)
  })

  test('disconnects from a silent server, and reconnects', async t => {
    const server = await redisServer(t)
    if (server === undefined) return
    const app = await start(t, { url: server.url, commandTimeout: 50, socketTimeout: 500 })
    await isUp(app)
    const closed = event(app, 'close')
    server.process.kill('SIGSTOP')
    await assert.rejects(app.redis.get('key'), /Command timed out/)
    await closed
    await assert.rejects(app.redis.get('key'))

    server.process.kill('SIGCONT')
    await isUp(app)
    assert.equal(await app.redis.get('key'), null)
  })

  test('fails commands in flight immediately when the connection breaks, and does not resend them', async t => {
    const server = await redisServer(t)
    if (server === undefined) return
    const app = await start(t, { url: server.url, commandTimeout: 3_600_000, socketTimeout: 3_600_000 })
    await isUp(app)
    server.process.kill('SIGSTOP')
    const { stream } = app.redis as Redis
    const { bytesWritten } = stream
    const counting = assert.rejects(app.redis.incr('counter'))
    await eventually(() => stream.bytesWritten > bytesWritten)
    stream.destroy()
    await counting
    server.process.kill('SIGCONT')
    await isUp(app)
    assert.ok(Number(await app.redis.get('counter')) <= 1)
  })

  test('connects to a cluster through one of its nodes', async t => {
    const server = await redisServer(t, ['--cluster-enabled', 'yes', '--cluster-announce-ip', '127.0.0.1'])
    if (server === undefined) return
    const setUp = await start(t, { url: server.url })
    await isUp(setUp)
    await setUp.redis.call('cluster', 'addslotsrange', '0', '16383')
    const app = await start(t, { url: `redis+cluster://127.0.0.1:${server.port}`, commandTimeout: 1_000 })
    await isUp(app)
    await app.redis.set('key', 'value')
    assert.equal(await app.redis.get('key'), 'value')
  })

  test('reports outages and recoveries to metrics and the log, once each', async t => {
    const server = await redisServer(t)
    if (server === undefined) return
    const registry = new Registry()
    const lines: { level: number; msg: string }[] = []
    const app = await start(t, { url: server.url, registry }, lines)
    await isUp(app)
    assert.match(await registry.metrics(), /rhone_dependency_up\{service="redis"\} 1/)

    const closed = event(app, 'close')
    server.process.kill('SIGKILL')
    await closed
    await event(app, 'reconnecting')
    await event(app, 'reconnecting')
    assert.match(await registry.metrics(), /rhone_dependency_up\{service="redis"\} 0/)
    assert.deepEqual(
      lines.map(line => line.msg),
      ['redis is reachable', 'redis is not reachable, continuing without it']
    )
  })
})

async function start(
  t: TestContext,
  options: Partial<RedisOptions> & RedisDeps,
  lines: { level: number; msg: string }[] = []
): Promise<FastifyInstance> {
  const app = Fastify({ logger: { stream: { write: line => lines.push(JSON.parse(line)) } } })
  app.register(redis, Object.freeze(options))
  await app.ready()
  t.after(() => app.close())
  return app
}

async function isUp(app: FastifyInstance): Promise<void> {
  if (app.redis.status !== 'ready') await event(app, 'ready')
}

/** Unlike `once` of node:events, ignores errors in between, which are expected here. */
function event(app: FastifyInstance, name: string): Promise<void> {
  return new Promise(resolve => app.redis.once(name, () => resolve()))
}
