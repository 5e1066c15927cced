import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { Registry } from '@platformatic/prom-client'
import { smtpMailer } from '../../integrations/mail/smtp.ts'
import { RemoteError } from '../../plugins/lib/remote.ts'
import { FakeSmtp } from '../fakes/smtp/server.ts'

async function mailServer(t: TestContext, changes: Partial<Parameters<typeof smtpMailer>[0]> = {}) {
  const server = await new FakeSmtp().listen()
  t.after(() => server.close())
  const registry = new Registry()
  const mailer = smtpMailer({ url: server.url, from: 'rhone@example.com', allowsPlain: true, registry, ...changes })
  return { server, mailer, registry }
}

const MAIL = { to: ['ops@example.com', 'ada@example.com'], subject: 'Rhône: done', text: 'All is well.\n.\nReally.\n' }

const failure = (kind: string, message: RegExp) => (error: unknown) =>
  error instanceof RemoteError && error.kind === kind && message.test(error.message)

test('a mail arrives once, at each recipient, as it was written', async t => {
  const { server, mailer, registry } = await mailServer(t)
  await mailer.send(MAIL)
  assert.equal(server.mails.length, 1)
  const [{ from, to, content }] = server.mails as [FakeSmtp['mails'][0]]
  assert.deepEqual([from, to], ['rhone@example.com', MAIL.to])
  assert.match(content, /^From: Rhone <rhone@example\.com>$/m)
  assert.match(content, /^Subject: =\?UTF-8\?/m)
  assert.match(content, /^Auto-Submitted: auto-generated$/im)
  assert.match(content, /\n\nAll is well\.\n\.\nReally\.$/)
  assert.match(
    await registry.metrics(),
    /rhone_dependency_request_duration_seconds_count\{service="mail",operation="send",outcome="success"\} 1/
  )
})

test('what a line break could add to a mail is refused, or is no other recipient', async t => {
  const { server, mailer } = await mailServer(t)
  await mailer.send({ ...MAIL, subject: 'one\r\nBcc: other@example.com\r\n\r\ntext' })
  for (const address of ['ops@example.com>\r\nRCPT TO:<other@example.com', 'ops@example.com,other@example.com', 'ops'])
    await assert.rejects(mailer.send({ ...MAIL, to: [address] }), /is not a mail address/)
  assert.deepEqual(
    server.mails.map(({ to }) => to),
    [MAIL.to]
  )
  assert.ok(!/^Bcc/m.test(server.mails[0]!.content))
})

test('a server that says nothing is given up, at each step, and after its time in all', async t => {
  const { server, mailer } = await mailServer(t, { timeout: 100 })
  for (const step of ['greeting', 'end of data'] as const) {
    server.silentAt = step
    await assert.rejects(mailer.send(MAIL), failure('timeout', /^mail: send: no answer in time$/))
  }
  const { mailer: late } = await mailServer(t, { deadline: 1 })
  await assert.rejects(late.send(MAIL), failure('timeout', /no answer in time/))
  assert.deepEqual(server.mails, [])
})

test('a server that is not there, refuses, or offers no TLS where it has to, is named without a secret', async t => {
  const { server, mailer } = await mailServer(t)
  server.refused.add(MAIL.to[0]!).add(MAIL.to[1]!)
  await assert.rejects(mailer.send(MAIL), failure('status', /answered 550/))
  const wrong = smtpMailer({ url: server.url.replace('word', 'other'), from: 'rhone@example.com', allowsPlain: true })
  await assert.rejects(wrong.send(MAIL), failure('status', /the user or the password is refused/))
  const strict = smtpMailer({ url: server.url, from: 'rhone@example.com', allowsPlain: false })
  await assert.rejects(strict.send(MAIL), (error: Error) => /TLS/.test(error.message))
  await server.close()
  await assert.rejects(mailer.send(MAIL), failure('network', /cannot be reached/))
})
