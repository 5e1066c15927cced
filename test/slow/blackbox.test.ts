import assert from 'node:assert/strict'
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { needsOpenssl } from '../support/certificate.ts'
import { freshDatabase } from '../support/database.ts'
import { eventually } from '../support/eventually.ts'
import { freePort } from '../support/free-port.ts'
import { startServer } from '../support/process.ts'

const PROGRAM = 'prometheus-blackbox-exporter'
const CONFIG = join(import.meta.dirname, '../../monitoring/blackbox.yml')
const missing = spawnSync(PROGRAM, ['--version']).error ? `there is no ${PROGRAM} on this machine` : false
const skip = missing || needsOpenssl.skip

/** The exporter with the shipped configuration. @returns the metrics of a probe */
async function exporter(t: TestContext, trusted: string): Promise<(target: string) => Promise<Map<string, number>>> {
  const port = await freePort()
  const child = spawn(PROGRAM, [`--config.file=${CONFIG}`, `--web.listen-address=127.0.0.1:${port}`], {
    env: { PATH: process.env.PATH, SSL_CERT_FILE: trusted },
    stdio: 'ignore'
  })
  t.after(() => child.kill('SIGKILL'))
  const url = `http://127.0.0.1:${port}`
  await eventually(
    () => fetch(`${url}/-/healthy`).catch(() => null),
    reply => reply?.ok === true,
    20_000
  )
  return async target => {
    const reply = await fetch(`${url}/probe?${new URLSearchParams({ module: 'rhone', target })}`)
    const lines = [...(await reply.text()).matchAll(/^(probe_\w+)(?:\{[^}]*\})? (\S+)$/gm)]
    return new Map(lines.map(([, name, value]) => [name!, Number(value)]))
  }
}

test('the exporter detects from outside that it is up, when its certificate expires, and that it is down', {
  skip,
  timeout: 180_000
}, async t => {
  const directory = await mkdtemp(join(tmpdir(), 'rhone-blackbox-'))
  t.after(() => rm(directory, { recursive: true, force: true }))
  const [certFile, keyFile] = [join(directory, 'cert.pem'), join(directory, 'key.pem')]
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '5']
  const name = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost']
  execFileSync('openssl', ['req', '-x509', ...curve, '-keyout', keyFile, '-out', certFile, ...name], {
    stdio: 'ignore'
  })

  const server = await startServer(t, {
    DATABASE_URL: await freshDatabase(t),
    DATA_DIR: join(directory, 'data'),
    TLS_CERT_FILE: certFile,
    TLS_KEY_FILE: keyFile
  })
  const probe = await exporter(t, certFile)

  for (const path of ['/ready', '/api/v1/ping', '/status.json']) {
    const seen = await probe(`https://localhost:${server.port}${path}`)
    assert.equal(seen.get('probe_success'), 1, path)
    assert.equal(seen.get('probe_http_status_code'), 200, path)
    const ends = Date.parse(new X509Certificate(await readFile(certFile)).validTo) / 1_000
    assert.equal(seen.get('probe_ssl_last_chain_expiry_timestamp_seconds'), ends, path)
  }
  const unknown = await probe(`https://localhost:${server.port}/there-is-no-such-route`)
  assert.equal(unknown.get('probe_success'), 0, 'an error reply fails the probe')

  server.child.kill('SIGTERM')
  await server.exited
  const gone = await probe(`https://localhost:${server.port}/ready`)
  assert.equal(gone.get('probe_success'), 0)
})
