import assert from 'node:assert/strict'
import { test } from 'node:test'
import { backupTargetOf } from '../../src/config/backups.ts'
import { parseCron } from '../../src/config/cron.ts'
import { ConfigError, loadConfig, type Variables } from '../../src/config/index.ts'

const RECIPIENT = 'age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p'
const at = (text: string) => new Date(text)

function problemsOf(variables: Variables): string {
  try {
    loadConfig(variables)
  } catch (error) {
    if (error instanceof ConfigError) return error.message
    throw error
  }
  return ''
}

test('the latest time of a schedule is found in UTC, however long ago', () => {
  const cases: [cron: string, now: string, latest: string][] = [
    ['0 2 * * *', '2030-01-31T02:00:00Z', '2030-01-31T02:00:00Z'],
    ['0 2 * * *', '2030-01-31T01:59:59Z', '2030-01-30T02:00:00Z'],
    ['*/15 * * * *', '2030-01-31T10:44:59Z', '2030-01-31T10:30:00Z'],
    ['0 3 * * 0', '2030-01-31T10:00:00Z', '2030-01-27T03:00:00Z'],
    ['0 3 * * 7', '2030-01-31T10:00:00Z', '2030-01-27T03:00:00Z'],
    ['5,10 8-17/3 * * 1-5', '2030-01-28T07:00:00Z', '2030-01-25T17:10:00Z'],
    ['0 0 1 * 1', '2030-01-31T10:00:00Z', '2030-01-28T00:00:00Z'],
    ['0 0 29 2 *', '2030-01-01T00:00:00Z', '2028-02-29T00:00:00Z']
  ]
  for (const [cron, now, latest] of cases)
    assert.equal(parseCron(cron).previous(at(now))?.getTime(), at(latest).getTime(), `${cron} at ${now}`)
  assert.equal(parseCron('0 0 31 2 *').previous(at('2030-01-01T00:00:00Z')), null)
})

test('an invalid schedule is refused with the name of its field', () => {
  for (const [cron, problem] of [
    ['0 2 * *', /must have five fields/],
    ['60 2 * * *', /"60" is not a valid minute: use numbers from 0 to 59/],
    ['0 24 * * *', /is not a valid hour/],
    ['0 2 0 * *', /is not a valid day of month/],
    ['0 2 * 13 *', /is not a valid month/],
    ['0 2 * * mon', /is not a valid day of week/],
    ['5-1 * * * *', /is not a valid minute/],
    ['*/0 * * * *', /is not a valid minute/],
    ['', /must have five fields/]
  ] as const)
    assert.throws(() => parseCron(cron), problem, cron)
  assert.match(problemsOf({ BACKUP_SCHEDULE: 'daily' }), /BACKUP_SCHEDULE: "daily" must have five fields/)
  assert.equal(loadConfig({ BACKUP_SCHEDULE: 'off' }).backups.schedule, null)
})

test('backups go below DATA_DIR, to another directory, or into a bucket', () => {
  const target = (variables: Variables) => backupTargetOf(loadConfig({ DATA_DIR: '/data', ...variables }))
  assert.deepEqual(target({}), { directory: '/data/backups' })
  assert.deepEqual(target({ BACKUP_URL: 'file:///mnt/back%20up' }), { directory: '/mnt/back up' })
  const keys = { AWS_ACCESS_KEY_ID: 'id', AWS_SECRET_ACCESS_KEY: 'secret' }
  const url = 's3://bucket/a/b/?endpoint=https://s3.example.com&region=eu'
  assert.deepEqual(target({ BACKUP_URL: url, ...keys }), {
    s3: {
      bucket: 'bucket',
      prefix: 'a/b',
      endpoint: 'https://s3.example.com',
      region: 'eu',
      accessKeyId: 'id',
      secretAccessKey: 'secret'
    }
  })
  for (const [value, problem] of [
    ['/mnt/backups', /BACKUP_URL: must be file:\/\/\/path or s3:/],
    ['file://host/path', /must be file:/],
    ['https://example.com', /must be file:/],
    ['s3://bucket', /AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY: BACKUP_URL=s3:\/\/... needs both/],
    ['s3://id:key@bucket', /must not contain credentials/],
    ['s3://bucket?acl=public', /unknown parameter "acl"/],
    ['s3://bucket?endpoint=ftp://x', /its endpoint must be an http or https address/]
  ] as const)
    assert.match(problemsOf({ BACKUP_URL: value }), problem, value)
})

test('mail needs a server over SMTP and a sender, and each address is one that no parser takes for another', () => {
  const complete = { SMTP_URL: 'smtp://rhone:p%40ss@mail.example.com:587', MAIL_FROM: 'rhone@example.com' }
  assert.deepEqual(loadConfig({}).mail, null)
  assert.deepEqual(loadConfig(complete).mail, {
    url: complete.SMTP_URL,
    from: 'rhone@example.com',
    allowsPlain: false
  })
  assert.equal(loadConfig({ ...complete, SMTP_URL: 'smtp://127.0.0.1:25' }).mail!.allowsPlain, true)
  for (const [variables, problem] of [
    [{ SMTP_URL: 'mail.example.com:587' }, /SMTP_URL: must be smtp:\/\/user:password@host:port or smtps:/],
    [{ SMTP_URL: 'https://mail.example.com' }, /SMTP_URL: must be smtp:/],
    [{ SMTP_URL: 'smtp://' }, /SMTP_URL: must be smtp:/],
    [{ SMTP_URL: 'smtp://mail.example.com?tls=no' }, /SMTP_URL: must be smtp:/],
    [{ SMTP_URL: 'smtp://:secret@mail.example.com' }, /SMTP_URL: has a password, but no user/],
    [{ SMTP_URL: 'smtp://u:%E0%A4%A@mail.example.com' }, /SMTP_URL: /],
    [{ MAIL_FROM: undefined }, /MAIL_FROM: is required with SMTP_URL/],
    [{ MAIL_FROM: 'Rhone <rhone@example.com>' }, /MAIL_FROM: "Rhone <rhone@example.com>" is not a mail address/],
    [{ NOTIFY_EMAIL: 'ops@example.com, ops' }, /NOTIFY_EMAIL: "ops" is not a mail address/],
    [{ NOTIFY_EMAIL: 'ops@example.com>' }, /NOTIFY_EMAIL: ".*" is not a mail address/]
  ] as const) {
    const problems = problemsOf({ ...complete, ...variables })
    assert.match(problems, problem, JSON.stringify(variables))
    assert.ok(!problems.includes('secret@'), 'no password is repeated')
  }
  assert.deepEqual(loadConfig({ NOTIFY_EMAIL: 'ops@example.com, ada@example.com' }).notifyEmail, [
    'ops@example.com',
    'ada@example.com'
  ])
})

test('recipients must be public keys, and retention is a number of days, weeks and months', () => {
  const { backups } = loadConfig({ BACKUP_RECIPIENTS: ` ${RECIPIENT} `, BACKUP_KEEP: '2d1m' })
  assert.deepEqual([backups.recipients, backups.keyRecipients], [[RECIPIENT], [RECIPIENT]])
  assert.deepEqual(backups.keep, { days: 2, weeks: 0, months: 1 })
  const secret = 'AGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQQQQQQQQQQQ'
  const leaked = problemsOf({ BACKUP_RECIPIENTS: secret })
  assert.match(leaked, /BACKUP_RECIPIENTS: contains a private key/)
  assert.ok(!leaked.includes(secret))
  assert.match(problemsOf({ BACKUP_RECIPIENTS: 'ssh-ed25519 AAAA' }), /is not a public age key/)
  for (const keep of ['7', '0d', 'd', '7d4', '-1d', '12m7d'])
    assert.match(problemsOf({ BACKUP_KEEP: keep }), /BACKUP_KEEP: ".*" must be days, weeks and months/, keep)
})
