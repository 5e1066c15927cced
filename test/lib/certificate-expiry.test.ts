import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import { type ConnectionOptions, connect, createServer } from 'node:tls'
import { Registry } from '@platformatic/prom-client'
import { certificateExpiry, expiryOf, recordingPeer } from '../../plugins/lib/certificate-expiry.ts'
import { certificate, needsOpenssl } from '../support/certificate.ts'

const secondsOf = (date: Date) => date.getTime() / 1_000

const recorder = (registry: Registry, name: string) => (expiry: Date) => certificateExpiry(registry)(name, expiry)

async function tlsServer(t: TestContext) {
  const { key, cert } = await certificate(t)
  const server = createServer({ key, cert }, socket => socket.on('error', () => {}).end())
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  return { cert, port: (server.address() as AddressInfo).port }
}

/** The code of the error that ends the handshake; undefined if it succeeds. */
async function handshake(options: ConnectionOptions): Promise<string | undefined> {
  const { promise, resolve } = Promise.withResolvers<string | undefined>()
  const socket = connect(options, () => resolve(undefined))
  socket.on('error', error => resolve((error as NodeJS.ErrnoException).code))
  const result = await promise
  socket.destroy()
  return result
}

test('of a chain, the first certificate to expire counts', needsOpenssl, async t => {
  const { cert } = await certificate(t)
  const expected = Date.parse(new X509Certificate(cert).validTo)
  assert.equal(expiryOf(cert).getTime(), expected)
  assert.equal(expiryOf(`${cert}\n${cert}`).getTime(), expected)
  assert.throws(() => expiryOf('nothing'), /the file contains no certificate/)
})

test('the certificate of a peer is recorded, and its name is checked as before', needsOpenssl, async t => {
  const { cert, port } = await tlsServer(t)
  const registry = new Registry()
  const place = { host: '127.0.0.1', port, ca: cert }
  assert.equal(
    await handshake(recordingPeer(recorder(registry, 'redis'), { ...place, servername: 'localhost' })),
    undefined
  )
  const text = await registry.metrics()
  const expected = secondsOf(expiryOf(cert))
  assert.match(text, new RegExp(`^rhone_tls_certificate_expiry_timestamp_seconds\\{name="redis"\\} ${expected}$`, 'm'))
  assert.equal(
    await handshake(recordingPeer(recorder(registry, 'redis'), { ...place, servername: 'other.example' })),
    'ERR_TLS_CERT_ALTNAME_INVALID'
  )
})

test('a peer that is not trusted is refused, and the last good certificate stays recorded', needsOpenssl, async t => {
  const { port } = await tlsServer(t)
  const registry = new Registry()
  certificateExpiry(registry)('database', new Date(1_000))
  assert.equal(
    await handshake(
      recordingPeer(recorder(registry, 'database'), { host: '127.0.0.1', port, servername: 'localhost' })
    ),
    'DEPTH_ZERO_SELF_SIGNED_CERT'
  )
  assert.match(await registry.metrics(), /\{name="database"\} 1$/m)
})

test('of several workers, the certificate that expires first counts', async () => {
  const registry = new Registry()
  certificateExpiry(registry)
  const metric = registry.getSingleMetric('rhone_tls_certificate_expiry_timestamp_seconds') as { aggregator?: string }
  assert.equal(metric.aggregator, 'min')
})
