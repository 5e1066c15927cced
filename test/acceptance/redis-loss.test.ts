import assert from 'node:assert/strict'
import { test } from 'node:test'
import { sql } from 'drizzle-orm'
import { Redis } from 'ioredis'
import { createLocalAccount, setPassword } from '../../src/domain/accounts/local-accounts.ts'
import { createPasswords } from '../../src/domain/accounts/passwords.ts'
import { auditLog } from '../domain/support.ts'
import { testApp } from '../support/app.ts'
import { TestBrowser } from '../support/browser.ts'
import { eventually } from '../support/eventually.ts'
import { freePort } from '../support/free-port.ts'
import { redisServer } from '../support/redis.ts'
import { repeatedly } from '../support/repeatedly.ts'

const GOOD = 'kuro mizu tabi 9 feldspar'

test('Redis holds no essential data: flushed under load, and filled until it evicts keys', async t => {
  const redis = await redisServer(t, ['--maxmemory', '3mb', '--maxmemory-policy', 'allkeys-lru'])
  if (redis === undefined) return
  const port = await freePort()
  const base = `http://127.0.0.1:${port}`
  const loose = Object.fromEntries(
    ['GENERAL', 'AUTH', 'STRICT', 'USER'].map(name => [`RATE_LIMIT_${name}`, '100000/s:100000'])
  )
  const { app, token } = await testApp(t, { ...loose, REDIS_URL: redis.url, LOCAL_ACCOUNTS: 'true', BASE_URL: base })
  await app.listen({ host: '127.0.0.1', port })
  const admin = new Redis(redis.url)
  t.after(() => admin.disconnect())
  const hash = await createPasswords().hash(GOOD, 'tests')
  for (const login of ['ada', 'victim'])
    await app.db.transaction(async tx => {
      const { user } = await createLocalAccount(tx, auditLog, login, 'test', 'pro')
      await setPassword(tx, user.id, hash)
    })
  const signIn = async (login: string, password: string, browser = new TestBrowser()) =>
    browser.submit(await browser.open(`${base}/login`), '/auth/password', { login, password, next: '/api/v1/me' })

  await t.test('FLUSHALL ends no session, fails no request and loses no data', async () => {
    const browser = new TestBrowser()
    assert.equal((await signIn('ada', GOOD, browser)).status, 200)
    const rows = async () => {
      const [found] = await app.db.execute(sql`select (select count(*) from sessions) as sessions,
        (select count(*) from users) as users, (select count(*) from api_tokens) as tokens`)
      return found
    }
    const before = await rows()
    const statuses: number[] = []
    const authorization = `Bearer ${token}`
    const load = [
      repeatedly(t.signal, async () => statuses.push((await browser.open(`${base}/api/v1/me`)).status)),
      repeatedly(t.signal, async () =>
        statuses.push((await fetch(`${base}/api/v1/apps`, { headers: { authorization } })).status)
      )
    ]
    for (let flushes = 1; flushes <= 20; flushes++) {
      await admin.flushall()
      await eventually(
        () => statuses.length,
        count => count >= flushes * 10
      )
    }
    await Promise.all(load.map(each => each.stop()))
    assert.deepEqual([...new Set(statuses)], [200])
    assert.deepEqual(await rows(), before)
  })

  await t.test('a locked account stays locked when Redis evicts keys', async () => {
    for (let guess = 0; guess < 5; guess++) await signIn('victim', `wrong ${guess}`)
    assert.equal((await signIn('victim', GOOD)).status, 429)
    const evicted = async () => Number(/evicted_keys:(\d+)/.exec(await admin.info('stats'))?.[1])
    for (let key = 0; (await evicted()) < 1_000; key += 500)
      await Promise.all(Array.from({ length: 500 }, (_, n) => admin.set(`filler ${key + n}`, 'x'.repeat(1_000))))
    assert.equal((await signIn('victim', GOOD)).status, 429)
  })
})
