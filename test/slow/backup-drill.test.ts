import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { mock, type TestContext, test } from 'node:test'
import type { FastifyInstance } from 'fastify'
import { DATA, objectOf } from '../../src/workflows/backups/names.ts'
import { listen } from '../fakes/server.ts'
import { FakeSmtp } from '../fakes/smtp/server.ts'
import { testApp } from '../support/app.ts'
import { directoryFor } from '../support/backups.ts'
import { eventually } from '../support/eventually.ts'

interface Heard {
  readonly event: string
  readonly outcome: string
  readonly text: string
}

/** A server that reports backups and drills to a webhook and by mail. */
async function notifyingServer(t: TestContext) {
  const heard: Heard[] = []
  const webhook = await listen(async (request, response) => {
    heard.push(JSON.parse(Buffer.concat(await Array.fromAsync(request)).toString()))
    response.end()
  })
  t.after(() => webhook.close())
  const smtp = await new FakeSmtp().listen()
  t.after(() => smtp.close())
  const directory = await directoryFor(t)
  const { app, as, token } = await testApp(t, {
    BACKUP_URL: `file://${directory}`,
    NOTIFY_WEBHOOK_URL: webhook.url,
    NOTIFY_EMAIL: 'ops@example.com',
    SMTP_URL: smtp.url,
    MAIL_FROM: 'rhone@example.com'
  })
  const run = async (queue: string) => {
    const before = heard.length
    await app.jobs.send(null, queue, { trigger: 'operator' })
    await eventually(() => heard.length > before, Boolean, 240_000)
    return heard.at(-1)!
  }
  const backups = async () => (await as(token, 'GET', '/admin/backups')).json().items as { id: string }[]
  return { app, smtp, heard, run, backups, directory }
}

async function gaugesOf(app: FastifyInstance) {
  const { body } = await app.inject({ url: '/metrics', remoteAddress: '127.0.0.1' })
  return (name: string) => Number(new RegExp(`^rhone_restore_drill_${name} (\\S+)$`, 'm').exec(body)?.[1])
}

test('a drill, even a failed one, is reported to the webhook and by mail, with its recovery time and point as gauges', async t => {
  const { app, smtp, run, backups, directory } = await notifyingServer(t)
  assert.equal((await run('backup')).outcome, 'success')
  const done = await run('restore-drill')
  assert.deepEqual([done.event, done.outcome], ['drill', 'success'], done.text)
  const gauge = await eventually(
    () => gaugesOf(app),
    read => read('last_success_timestamp_seconds') > 0
  )
  const [succeededAt, rto, rpo] = ['last_success_timestamp_seconds', 'duration_seconds', 'data_loss_seconds'].map(gauge)
  assert.ok(Date.now() / 1_000 - succeededAt! < 120 && rto! > 0 && rpo! > 0, JSON.stringify([succeededAt, rto, rpo]))

  const [{ id }] = (await backups()) as [{ id: string }]
  const path = join(directory, objectOf(id, DATA))
  const damaged = await readFile(path)
  damaged[damaged.length >> 1]! ^= 1
  await writeFile(path, damaged)
  const failed = await run('restore-drill')
  assert.deepEqual([failed.event, failed.outcome], ['drill', 'failure'])
  assert.match(failed.text, new RegExp(DATA))
  assert.equal((await gaugesOf(app))('last_success_timestamp_seconds'), succeededAt)

  await eventually(() => smtp.mails.length === 3)
  const subjects = smtp.mails.map(({ content }) => /^Subject: (.*)$/m.exec(content)?.[1])
  assert.deepEqual(subjects, ['Rhone: backup done', 'Rhone: drill done', 'Rhone: drill failed'])
  assert.ok(smtp.mails.every(({ from, to }) => from === 'rhone@example.com' && to.join() === 'ops@example.com'))
  assert.ok(smtp.mails.at(-1)!.content.includes(id))
})

test('a mail server that never answers delays no backup, and is logged', async t => {
  const { app, smtp, run } = await notifyingServer(t)
  smtp.silentAt = 'greeting'
  const logged = mock.method(app.log, 'error', () => {})
  assert.equal((await run('backup')).outcome, 'success')
  const [facts, message] = await eventually(
    () =>
      logged.mock.calls.map(call => call.arguments as unknown[]).find(([, text]) => /NOTIFY_EMAIL/.test(String(text))),
    Boolean,
    30_000
  ).then(found => found!)
  assert.equal(message, 'the notification to NOTIFY_EMAIL failed')
  assert.match(String((facts as { err: Error }).err.message), /no answer in time/)
  assert.deepEqual(smtp.mails, [])
})
