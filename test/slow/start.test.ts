import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { copyFile, mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { get } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { type ConnectionOptions, connect, type PeerCertificate } from 'node:tls'
import postgres from 'postgres'
import { findServer } from '../../src/listening.ts'
import { needsOpenssl } from '../support/certificate.ts'
import { emptyDatabase, freshDatabase } from '../support/database.ts'
import { eventually } from '../support/eventually.ts'
import { launchServer, type RunningServer, startServer } from '../support/process.ts'

async function directory(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'rhone-start-'))
  t.after(() => rm(path, { recursive: true, force: true }))
  return path
}

test('three servers that start at once on an empty database', async t => {
  const DATABASE_URL = await emptyDatabase(t)
  const directories = await Promise.all([directory(t), directory(t), directory(t)])
  const servers = await Promise.all(directories.map(DATA_DIR => startServer(t, { DATABASE_URL, DATA_DIR })))
  const withToken = servers.filter(({ token }) => token !== '')

  await t.test('one migrates and all serve', async () => {
    const migrated = servers.map(({ logs }) => logs().filter(({ msg }) => msg === 'migration applied').length)
    assert.deepEqual(migrated.toSorted().slice(0, 2), [0, 0])
    assert.ok(Math.max(...migrated) > 0)

    assert.equal(withToken.length, 1, 'one of them created the first operator')
    for (const { url } of servers) {
      assert.equal((await fetch(`${url}/ready`)).status, 200)
      const apps = await fetch(`${url}/api/v1/apps`, { headers: { authorization: `Bearer ${withToken[0]!.token}` } })
      assert.equal(apps.status, 200)
    }
  })

  await t.test('the first operator’s token is readable only by its owner, and neither logged nor printed', async () => {
    const [{ token, logs, said }] = withToken as [RunningServer]
    const path = join(directories[servers.indexOf(withToken[0]!)]!, 'operator-token')
    assert.equal((await stat(path)).mode & 0o777, 0o600)
    assert.ok(said().includes(path))
    assert.match(token, /^rhone_\w+$/)
    assert.ok(!`${said()}${JSON.stringify(logs())}`.includes(token))
  })

  await t.test('a taken port is explained in one sentence', async () => {
    const PORT = String(servers[0]!.port)
    const DATA_DIR = await directory(t)
    const { exited, said } = launchServer(t, { DATA_DIR, PORT })
    assert.equal(await exited, 1)
    assert.match(
      said(),
      /^rhone: the server could not start: port \d+ of 127\.0\.0\.1 is in use by another program: .*PORT/m
    )
    await assert.rejects(stat(join(DATA_DIR, 'postgres')), { code: 'ENOENT' }, 'PostgreSQL was not begun')
  })
})

test('commands that share the directory find the server on any port while it runs', async t => {
  const DATA_DIR = await directory(t)
  const server = await startServer(t, { DATABASE_URL: await freshDatabase(t), DATA_DIR })
  assert.equal(findServer(DATA_DIR), server.url)
  assert.equal((await stat(join(DATA_DIR, 'server.json'))).mode & 0o777, 0o600)
  server.child.kill('SIGTERM')
  assert.equal(await server.exited, 0)
  assert.equal(findServer(DATA_DIR), undefined)
  await writeFile(join(DATA_DIR, 'server.json'), '{"url":"http://127.')
  assert.equal(findServer(DATA_DIR), undefined, 'a truncated note is ignored')
  await writeFile(join(DATA_DIR, 'server.json'), JSON.stringify({ url: server.url, pid: server.child.pid }))
  assert.equal(findServer(DATA_DIR), undefined, 'the note of a killed server is ignored')
})

test('edited migrations end the start with 1 and an explanation', async t => {
  const DATABASE_URL = await freshDatabase(t)
  const sql = postgres(DATABASE_URL, { max: 1 })
  await sql`update schema_migrations set checksum = 'other' where idx = 1`
  await sql.end()
  const { exited, said } = launchServer(t, { DATABASE_URL, DATA_DIR: await directory(t) })
  assert.equal(await exited, 1)
  assert.match(said(), /^rhone: the server could not start: migration \S+ was edited after it was applied/m)
})

test('an invalid environment ends the process with 78, and lists every problem', async t => {
  const { exited, said, logs } = launchServer(t, { ENVIRONMENT: 'production', PORT: 'http', TRUST_PROXY: 'all' })
  assert.equal(await exited, 78)
  for (const name of ['PORT', 'TRUST_PROXY', 'DATABASE_URL', 'SESSION_KEYS', 'ENCRYPTION_KEYS', 'SIGNING_KEYS'])
    assert.match(said(), new RegExp(`^ {2}${name}: `, 'm'))
  assert.deepEqual(logs(), [])
})

test('it serves HTTPS with at least TLS 1.2, and reloads the certificate on SIGHUP', needsOpenssl, async t => {
  const path = await directory(t)
  const [certFile, keyFile] = [join(path, 'cert.pem'), join(path, 'key.pem')]
  makeCertificate(path, 'first', 9)
  makeCertificate(path, 'second', 2)
  const use = async (name: string) => {
    await copyFile(join(path, `${name}.key`), keyFile)
    await copyFile(join(path, `${name}.crt`), certFile)
  }
  await use('first')
  const server = await startServer(t, {
    DATABASE_URL: await freshDatabase(t),
    DATA_DIR: path,
    TLS_CERT_FILE: certFile,
    TLS_KEY_FILE: keyFile
  })
  assert.match(server.url, /^https:/)
  const refusesCbc = async () => {
    const of12 = (ciphers: string) => peerOf(server.port, { maxVersion: 'TLSv1.2', ciphers })
    await assert.rejects(of12('ECDHE-ECDSA-AES256-SHA384:ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA'))
    await of12('ECDHE-ECDSA-AES128-GCM-SHA256')
  }
  assert.equal((await peerOf(server.port)).subject.CN, 'first')
  await assert.rejects(peerOf(server.port, { maxVersion: 'TLSv1.1', ciphers: 'DEFAULT:@SECLEVEL=0' }))
  await refusesCbc()
  assert.equal(await daysLeft(server.port), 9)

  await use('second')
  server.child.kill('SIGHUP')
  await eventually(
    async () => (await peerOf(server.port)).subject.CN,
    name => name === 'second'
  )
  // A scrape may be a second old.
  await eventually(
    () => daysLeft(server.port),
    days => days === 2
  )
  await refusesCbc()

  await copyFile(join(path, 'first.key'), keyFile) // of another certificate
  server.child.kill('SIGHUP')
  await eventually(
    () => server.logs().some(({ msg }) => String(msg).includes('the old one stays')),
    isRefused => isRefused
  )
  assert.equal((await peerOf(server.port)).subject.CN, 'second')
  server.child.kill('SIGTERM')
  assert.equal(await server.exited, 0)
})

function makeCertificate(path: string, name: string, days: number): void {
  const files = ['-keyout', join(path, `${name}.key`), '-out', join(path, `${name}.crt`)]
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  execFileSync('openssl', ['req', '-x509', ...curve, ...files, '-subj', `/CN=${name}`, '-days', String(days)], {
    stdio: 'ignore'
  })
}

/** The expiry of the served certificate, from the metrics. */
async function daysLeft(port: number): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
  get({ port, host: '127.0.0.1', path: '/metrics', rejectUnauthorized: false }, resolve).on('error', reject)
  const [, seconds] =
    /^rhone_tls_certificate_expiry_timestamp_seconds\{name="server"\} (\S+)$/m.exec(await text(await promise)) ?? []
  return Math.round((Number(seconds) - Date.now() / 1_000) / 86_400)
}

function peerOf(port: number, offer: Pick<ConnectionOptions, 'maxVersion' | 'ciphers'> = {}): Promise<PeerCertificate> {
  const { promise, resolve, reject } = Promise.withResolvers<PeerCertificate>()
  const versions = offer.maxVersion && { minVersion: offer.maxVersion }
  const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ...versions, ...offer }, () => {
    resolve(socket.getPeerCertificate())
    socket.destroy()
  })
  socket.on('error', reject)
  return promise
}
