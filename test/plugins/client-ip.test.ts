import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type Agent, get, Agent as HttpAgent, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import Fastify, { type FastifyInstance } from 'fastify'
import clientIp, { type ClientIpOptions } from '../../plugins/client-ip.ts'
import { type ClientIp, parseAddress, peerOf } from '../../plugins/lib/address.ts'
import { haproxy } from '../support/haproxy.ts'

async function server(t: TestContext, options: Partial<ClientIpOptions> = {}): Promise<FastifyInstance> {
  const app: FastifyInstance = Fastify()
  t.after(() => app.close())
  await app.register(clientIp, options)
  app.get('/', request => Promise.resolve(request.clientIp))
  return app
}

async function resolved(app: FastifyInstance, remoteAddress: string, headers: Record<string, string> = {}) {
  const reply = await app.inject({ url: '/', remoteAddress, headers })
  return reply.json<ClientIp>()
}

const FORGED = {
  'fly-client-ip': '6.6.6.6',
  'x-forwarded-for': '6.6.6.6',
  'x-real-ip': '6.6.6.6',
  'true-client-ip': '6.6.6.6',
  'cf-connecting-ip': '6.6.6.6',
  forwarded: 'for=6.6.6.6'
}

test('addresses are canonical, and buckets are one per IPv4 address and one per IPv6 /64', () => {
  const cases: [text: string, address: string, bucket: string][] = [
    ['203.0.113.7', '203.0.113.7', '203.0.113.7'],
    ['::ffff:203.0.113.7', '203.0.113.7', '203.0.113.7'],
    ['::FFFF:cb00:7107', '203.0.113.7', '203.0.113.7'],
    ['2001:db8:0:1::5', '2001:db8:0:1::5', '2001:db8:0:1::/64'],
    ['2001:0DB8:0000:0001:0000:0000:0000:0005', '2001:db8:0:1::5', '2001:db8:0:1::/64'],
    ['2001:db8:0:1:ffff:ffff:ffff:ffff', '2001:db8:0:1:ffff:ffff:ffff:ffff', '2001:db8:0:1::/64'],
    ['2001:db8::1', '2001:db8::1', '2001:db8::/64'],
    ['2001:db8::1:2:3:4:5', '2001:db8:0:1:2:3:4:5', '2001:db8:0:1::/64'],
    ['fe80::1%eth0', 'fe80::1', 'fe80::/64'],
    ['::1', '::1', '::/64'],
    ['::1.2.3.4', '::1.2.3.4', '::/64'],
    ['64:ff9b::1.2.3.4', '64:ff9b::102:304', '64:ff9b::/64'],
    ['1:2:3::', '1:2:3::', '1:2:3::/64']
  ]
  for (const [text, address, bucket] of cases) assert.deepEqual(parseAddress(text), { address, bucket }, text)
})

test('text other than exactly one address is invalid', () => {
  for (const text of [
    '',
    ' ',
    'unknown',
    '1.2.3',
    '01.2.3.4',
    '1.2.3.4 ',
    '1.2.3.4, 5.6.7.8',
    '[::1]',
    '::1/64',
    '1.2.3.4%a'
  ])
    assert.equal(parseAddress(text), undefined, text)
})

test('by default, it uses the address of the socket, and ignores headers', async t => {
  const app = await server(t)
  for (const peer of ['203.0.113.7', '10.0.0.1', '127.0.0.1'])
    assert.equal((await resolved(app, peer, FORGED)).address, peer)
})

test('a request without a socket has an address that no peer can have', () => {
  assert.equal(peerOf(null).address, '0.0.0.0')
})

test('a peer over a dual-stack socket has the bucket of its IPv4 address', async t => {
  const app = await server(t)
  assert.deepEqual(await resolved(app, '::ffff:203.0.113.7'), await resolved(app, '203.0.113.7'))
})

test('on Fly, Fly-Client-IP is used if it is one address from a private peer, else the peer', async t => {
  const app = await server(t, { trustProxy: 'fly' })
  const cases: [peer: string, header: string, expected: string][] = [
    ['172.16.5.98', '203.0.113.7', '203.0.113.7'],
    ['fdaa:0:1::3', '2001:db8::1', '2001:db8::1'],
    ['10.0.0.1', '::ffff:203.0.113.7', '203.0.113.7'],
    ['198.51.100.1', '203.0.113.7', '198.51.100.1'],
    ['127.0.0.1', '203.0.113.7', '127.0.0.1'],
    ['2001:db8::9', '203.0.113.7', '2001:db8::9'],
    ['172.16.5.98', '203.0.113.7, 203.0.113.8', '172.16.5.98'],
    ['172.16.5.98', 'garbage', '172.16.5.98'],
    ['172.16.5.98', '', '172.16.5.98']
  ]
  for (const [peer, header, expected] of cases) {
    const headers = { ...FORGED, 'fly-client-ip': header }
    assert.equal((await resolved(app, peer, headers)).address, expected, `${peer} says ${header}`)
  }
})

test('behind proxies, the right-most hop that is not a proxy is the client', async t => {
  const app = await server(t, { trustProxy: ['10.0.0.0/8', 'fd00::/8', '192.0.2.1'] })
  const cases: [peer: string, chain: string, expected: string, why: string][] = [
    ['10.0.0.1', '203.0.113.7', '203.0.113.7', 'one proxy'],
    ['10.0.0.1', '203.0.113.7, 10.0.0.2', '203.0.113.7', 'two proxies'],
    ['10.0.0.1', '6.6.6.6, 203.0.113.7, 192.0.2.1,10.9.9.9', '203.0.113.7', 'what the client wrote is on the left'],
    ['10.0.0.1', '6.6.6.6, 10.0.0.3, 203.0.113.7', '203.0.113.7', 'a proxy named by the client proves nothing'],
    ['fd00::1', '2001:DB8::7', '2001:db8::7', 'IPv6'],
    ['::ffff:10.0.0.1', '203.0.113.7', '203.0.113.7', 'a mapped peer'],
    ['10.0.0.1', '203.0.113.7, ::ffff:10.0.0.2', '203.0.113.7', 'a mapped hop'],
    ['10.0.0.1', '203.0.113.7:4711', '203.0.113.7', 'a port'],
    ['10.0.0.1', '[2001:db8::7]:4711', '2001:db8::7', 'brackets and a port'],
    ['10.0.0.1', '10.0.0.3, 10.0.0.2', '10.0.0.3', 'a client inside the networks'],
    ['203.0.113.9', '6.6.6.6', '203.0.113.9', 'a peer that is no proxy'],
    ['192.0.2.2', '6.6.6.6', '192.0.2.2', 'a neighbour of the one that is'],
    ['10.0.0.1', '6.6.6.6, garbage', '10.0.0.1', 'garbage at once'],
    ['10.0.0.1', '6.6.6.6, garbage, 10.0.0.2', '10.0.0.2', 'garbage after a proxy'],
    ['10.0.0.1', '6.6.6.6,', '10.0.0.1', 'an empty hop'],
    ['10.0.0.1', '6.6.6.6, 10.0.0.2 10.0.0.3', '10.0.0.1', 'two in one hop'],
    ['10.0.0.1', '', '10.0.0.1', 'an empty header']
  ]
  for (const [peer, chain, expected, why] of cases) {
    const headers = { ...FORGED, 'x-forwarded-for': chain }
    assert.equal((await resolved(app, peer, headers)).address, expected, why)
    assert.equal((await resolved(app, peer, headers)).address, expected, `${why}, asked again`)
  }
})

test('a chain too long to cache is still parsed', async t => {
  const app = await server(t, { trustProxy: ['10.0.0.0/8'] })
  const chain = `${'6.6.6.6, '.repeat(500)}203.0.113.7`
  assert.equal((await resolved(app, '10.0.0.1', { 'x-forwarded-for': chain })).address, '203.0.113.7')
})

test('it parses more chains than it caches', async t => {
  const app = await server(t, { trustProxy: ['10.0.0.0/8'] })
  for (let i = 0; i < 1500; i++) {
    const client = `203.0.${i >> 8}.${i & 255}`
    assert.equal((await resolved(app, '10.0.0.1', { 'x-forwarded-for': client })).address, client)
  }
})

test('a wrong option fails the boot with a sentence', async () => {
  const boot = async (trustProxy: unknown) => {
    await Fastify().register(clientIp, { trustProxy } as ClientIpOptions)
  }
  await assert.rejects(boot('all'), /rhone-client-ip: option "trustProxy"/)
  await assert.rejects(boot(['10.0.0.0/33']), /rhone-client-ip: option "trustProxy": "10.0.0.0\/33" is neither/)
  await assert.rejects(boot(['proxy.internal']), /"proxy.internal" is neither an IP address nor a CIDR/)
  await assert.rejects(boot(['::/0']), /"::\/0" would trust every client/)
})

test('two apps in one process trust different proxies', async t => {
  const [open, closed] = await Promise.all([server(t, { trustProxy: ['10.0.0.0/8'] }), server(t)])
  const headers = { 'x-forwarded-for': '203.0.113.7' }
  assert.equal((await resolved(open, '10.0.0.1', headers)).address, '203.0.113.7')
  assert.equal((await resolved(closed, '10.0.0.1', headers)).address, '10.0.0.1')
})

test('on a real socket the address is parsed once for all requests of the connection', async t => {
  const app = await server(t)
  const seen = new Set<ClientIp>()
  app.addHook('onRequest', (request, _reply, done) => {
    seen.add(request.clientIp)
    done()
  })
  const port = await listen(app)
  const agent = new HttpAgent({ keepAlive: true, maxSockets: 1 })
  t.after(() => agent.destroy())
  for (let i = 0; i < 3; i++) assert.equal((await fetchFrom({ port, agent })).address, '127.0.0.1')
  assert.equal(seen.size, 1)
})

test('behind haproxy, forged headers of the client have no effect', async t => {
  const app = await server(t, { trustProxy: ['127.0.0.1'] })
  const port = await haproxy(t, [`127.0.0.1:${await listen(app)} source 127.0.0.1`])
  if (port === undefined) return

  for (const claim of [undefined, '6.6.6.6', '127.0.0.1', '6.6.6.6, 127.0.0.1', 'garbage', ', ,']) {
    const headers = { ...FORGED, ...(claim === undefined ? {} : { 'x-forwarded-for': claim }) }
    assert.equal((await fetchFrom({ port, localAddress: '127.0.0.2', headers })).address, '127.0.0.2', claim)
  }
})

async function listen(app: FastifyInstance): Promise<number> {
  await app.listen({ host: '127.0.0.1', port: 0 })
  return (app.server.address() as AddressInfo).port
}

interface Call {
  port: number
  agent?: Agent
  localAddress?: string
  headers?: IncomingHttpHeaders
}

async function fetchFrom({ port, ...options }: Call): Promise<ClientIp> {
  const request = get({ host: '127.0.0.1', port, path: '/', ...options })
  const [reply] = await once(request, 'response')
  const chunks = await reply.toArray()
  return JSON.parse(Buffer.concat(chunks).toString())
}
