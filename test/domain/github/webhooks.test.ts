import assert from 'node:assert/strict'
import { test } from 'node:test'
import { eq, sql } from 'drizzle-orm'
import { webhookDeliveries } from '../../../drizzle/schema.ts'
import type { Db } from '../../../src/domain/base/db.ts'
import {
  installationChangeOf,
  LONGEST_MESSAGE,
  PayloadError,
  pushOf,
  repositoriesRemovedOf,
  repositoryRenamedOf
} from '../../../src/domain/github/payloads.ts'
import { keepDeliveries, type NewDelivery, settleDelivery, takeDelivery } from '../../../src/domain/github/webhooks.ts'
import {
  installationDeleted,
  installationSuspended,
  installationUnsuspended,
  NO_COMMIT,
  type PushOf,
  push,
  repositoriesRemoved,
  repositoryRenamed,
  sha
} from '../../support/github-deliveries.ts'
import { openDatabase } from '../support.ts'

const delivery = (deliveryId: string, payload = Buffer.from('{}')): NewDelivery => ({
  source: 'github',
  deliveryId,
  event: 'push',
  payload
})
const keepDelivery = async (db: Db, kept: NewDelivery) => (await keepDeliveries(db, [kept])).length === 1
const stored = async (db: Db, deliveryId: string) =>
  (await db.select().from(webhookDeliveries).where(eq(webhookDeliveries.deliveryId, deliveryId)))[0]
const bytes = (payload: unknown) => Buffer.from(JSON.stringify(payload))
const pushed = (over: Partial<PushOf> = {}) => pushOf(bytes(push({ installationId: 1, repoId: 5, ...over })))

test('a delivery is stored byte for byte, even if it is not text', async t => {
  const db = await openDatabase(t)
  const payload = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))
  assert.equal(await keepDelivery(db, delivery('a', payload)), true)
  assert.deepEqual((await stored(db, 'a'))?.payload, payload)
})

test('of many concurrent identical deliveries, one is processed', async t => {
  const db = await openDatabase(t)
  const kept = await Promise.all(
    Array.from({ length: 20 }, () => db.transaction(tx => keepDelivery(tx, delivery('same'))))
  )
  assert.equal(kept.filter(Boolean).length, 1)
  assert.equal(await keepDelivery(db, delivery('same')), false)
  assert.equal(await keepDelivery(db, { ...delivery('same'), source: 'stripe' }), true, 'ids are those of a source')
})

test('a rolled back delivery is not stored, and a transaction that waited for it stores it', async t => {
  const db = await openDatabase(t)
  const isIn = Promise.withResolvers<void>()
  const mayEnd = Promise.withResolvers<void>()
  const first = db.transaction(async tx => {
    assert.equal(await keepDelivery(tx, delivery('x')), true)
    isIn.resolve()
    await mayEnd.promise
    throw new Error('no job could be added')
  })
  await isIn.promise
  const second = keepDelivery(db, delivery('x'))
  mayEnd.resolve()
  await assert.rejects(first, /no job/)
  assert.equal(await second, true)
})

test('processed and ignored deliveries stay so; failed and lost ones are processed when redelivered', async t => {
  const db = await openDatabase(t)
  for (const outcome of ['processed', 'ignored'] as const) {
    await keepDelivery(db, delivery(outcome))
    await settleDelivery(db, delivery(outcome), outcome)
    assert.equal(await keepDelivery(db, delivery(outcome)), false, outcome)
    assert.equal(await takeDelivery(db, delivery(outcome)), undefined, outcome)
  }
  await keepDelivery(db, delivery('failed'))
  await settleDelivery(db, delivery('failed'), 'failed', 'why')
  assert.equal((await stored(db, 'failed'))?.error, 'why')
  assert.ok(await takeDelivery(db, delivery('failed')), 'an operator may have it processed again')
  assert.equal(await keepDelivery(db, delivery('failed')), true)
  assert.deepEqual(
    [
      (await stored(db, 'failed'))?.outcome,
      (await stored(db, 'failed'))?.processedAt,
      (await stored(db, 'failed'))?.error
    ],
    [null, null, null]
  )

  await keepDelivery(db, delivery('lost'))
  await db.execute(
    sql`update webhook_deliveries set received_at = now() - interval '2 hours' where delivery_id = 'lost'`
  )
  assert.equal(await keepDelivery(db, delivery('lost')), true)
  assert.equal(await keepDelivery(db, delivery('lost')), false)
})

test('a push has its commit, branch, repository and installation', () => {
  const seconds = 1_795_000_001
  assert.deepEqual(pushed({ branch: 'feature/ä "x"; rm -rf $HOME', pushedAt: seconds }), {
    installationId: 1,
    repoId: 5,
    ref: 'refs/heads/feature/ä "x"; rm -rf $HOME',
    branch: 'feature/ä "x"; rm -rf $HOME',
    before: sha('before'),
    after: sha('after'),
    pushedAt: seconds * 1_000,
    commit: {
      sha: sha('after'),
      branch: 'feature/ä "x"; rm -rf $HOME',
      message: 'Say hello',
      author: 'Ada Example'
    }
  })
})

test('a push that moves a tag, deletes a branch or comes without a GitHub App deploys nothing', () => {
  assert.equal(pushed({ ref: 'refs/tags/v1' }), undefined)
  assert.equal(pushed({ deleted: true }), undefined)
  assert.equal(pushed({ after: NO_COMMIT }), undefined)
  assert.equal(pushed({ after: 'not a commit' }), undefined)
  assert.equal(pushed({ after: sha('x').toUpperCase() }), undefined)
  const { installation: _, ...byHook } = push({ installationId: 1, repoId: 5 })
  assert.equal(pushOf(bytes(byHook)), undefined)
  assert.ok(pushed({ before: NO_COMMIT }), 'the first push of a branch is one')
})

test('a commit message is truncated between characters, and contains only storable characters', () => {
  const message = (text: string) => pushed({ message: text })?.commit.message
  assert.equal(message('x'.repeat(LONGEST_MESSAGE)), 'x'.repeat(LONGEST_MESSAGE))
  assert.equal(message('x'.repeat(LONGEST_MESSAGE + 1)), 'x'.repeat(LONGEST_MESSAGE))
  assert.equal(message('💥'.repeat(300)), '💥'.repeat(LONGEST_MESSAGE))
  const mixed = message(`${'é'.repeat(199)}💥💥`)
  assert.equal(mixed, `${'é'.repeat(199)}💥`)
  assert.equal(mixed?.isWellFormed(), true)
  assert.equal(message('a\0b\ud800'), 'ab\ufffd')
  assert.equal(message(''), '')
  assert.equal(message('<b>\n$(reboot)\r\n'), '<b>\n$(reboot)\r\n')
  assert.equal(pushed({ author: '💥'.repeat(300) })?.commit.author, '💥'.repeat(255))
})

test('only the needed fields of a payload are read, and missing ones are named', () => {
  const event = push({ installationId: 1, repoId: 5 })
  assert.ok(pushOf(bytes({ ...event, new_in_2030: { a: 1 } })))
  assert.ok(pushOf(bytes({ ...event, repository: { id: 5 } })))
  for (const [broken, path] of [
    [{ ...event, after: 1 }, /^\/after: /],
    [{ ...event, repository: { id: '5' } }, /^\/repository\/id: /],
    [{ ...event, installation: { id: 1.5 } }, /^\/installation/],
    [[], /^payload: /]
  ] as const)
    assert.throws(
      () => pushOf(bytes(broken)),
      (error: Error) => error instanceof PayloadError && path.test(error.message)
    )
  assert.throws(() => pushOf(Buffer.from('{')), PayloadError)
})

test('events of installations and repositories are parsed, too', () => {
  const at = new Date('2026-11-18T12:00:00Z')
  assert.deepEqual(installationChangeOf(bytes(installationSuspended(3, at))), {
    action: 'suspend',
    installationId: 3,
    suspendedAt: at,
    at
  })
  assert.equal(installationChangeOf(bytes(installationUnsuspended(3, at))).suspendedAt, null)
  assert.equal(installationChangeOf(bytes(installationDeleted(3))).action, 'deleted')
  assert.deepEqual(repositoriesRemovedOf(bytes(repositoriesRemoved(3, [5, 6]))), { installationId: 3, repoIds: [5, 6] })
  const renamed = repositoryRenamed(3, 5, 'acme/new')
  assert.deepEqual(repositoryRenamedOf(bytes(renamed)), { installationId: 3, repoId: 5, name: 'acme/new' })
  assert.equal(repositoryRenamedOf(bytes({ ...renamed, action: 'archived' })), undefined)
})
