import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { freshDatabase } from '../support/database.ts'
import { eventually } from '../support/eventually.ts'
import { exchange, type RunningServer, startServer } from '../support/process.ts'

const MANY = 100
const head = (line: string, ...headers: string[]) => [line, 'Host: rhone', ...headers, '', ''].join('\r\n')
const PING = head('GET /api/v1/ping HTTP/1.1')

test('hostile clients', async t => {
  const directory = await mkdtemp(join(tmpdir(), 'rhone-hostile-'))
  t.after(() => rm(directory, { recursive: true, force: true }))
  const server = await startServer(t, {
    DATABASE_URL: await freshDatabase(t),
    DATA_DIR: directory,
    RATE_LIMIT_GENERAL: '100000/s:100000',
    RATE_LIMIT_USER: '100000/s:100000',
    MAX_CONNECTIONS: '400',
    // Without shedding, so that only the limits are tested, however busy the machine is.
    RHONE_SWAP: 'connections=./test/fixtures/swaps/impatient.ts,pressure=off'
  })
  const post = head(
    'POST /api/v1/apps HTTP/1.1',
    `Authorization: Bearer ${server.token}`,
    'Content-Type: application/json',
    'Content-Length: 100'
  )
  const refusals = (reason: string) => sample(server, `rhone_connections_refused_total{reason="${reason}"}`)
  const refused = (reason: string, expected: number) =>
    eventually(
      () => refusals(reason),
      count => count === expected
    )

  await t.test(
    'connections that say nothing are closed without a reply, a log line or a token of the limit',
    async t => {
      const clients = await crowd(t, server, MANY, '')
      await stillServes(server)
      await gone(clients)
      assert.equal(clients.map(({ heard }) => heard).join(''), '')
      await refused('silent', MANY)
    }
  )

  await t.test('heads that arrive byte by byte get 408', async t => {
    const clients = await crowd(t, server, MANY, 'GET /api/v1/ping HTTP/1.1\r\nHost: rhone\r\nX-Slow: ')
    const stop = drip(clients, 'a')
    await stillServes(server)
    await gone(clients)
    stop()
    for (const { heard } of clients) assert.match(heard, /^HTTP\/1\.1 408 /)
  })

  await t.test('bodies that arrive byte by byte, or not at all after a 100, get 408', async t => {
    const chunked = post.replace('Content-Length: 100', 'Transfer-Encoding: chunked')
    const expecting = post.replace('Content-Length', 'Expect: 100-continue\r\nContent-Length')
    const silent = exchange(server.port, expecting)
    const [long, short] = [await crowd(t, server, 100, post), await crowd(t, server, 100, chunked)]
    const stop = [drip(long, ' '), drip(short, '1\r\n \r\n')]
    await stillServes(server)
    await gone([...long, ...short])
    for (const halt of stop) halt()
    for (const { heard } of [...long, ...short]) assert.match(heard, /^HTTP\/1\.1 408 /)
    assert.match(await silent, /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 408 /)
  })

  await t.test('unread replies are dropped, and use bounded memory', async t => {
    const before = await residentMegabytes(server)
    const clients = await crowd(t, server, 100, head('GET /big HTTP/1.1').repeat(20), { deaf: true })
    await stillServes(server)
    await eventually(
      () => sample(server, 'rhone_connections{state="busy"}'),
      busy => busy <= 1
    )
    // On a busy machine, some may have been closed as silent.
    assert.ok((await refusals('slow_reader')) >= clients.length / 2)
    const grown = (await residentMegabytes(server)) - before
    assert.ok(grown < 300, `${grown} MB for replies of 32,000 MB`)
  })

  await t.test('of ten thousand requests in one write some are answered, and the connection is closed', async () => {
    const replies = await exchange(server.port, PING.repeat(10_000))
    const statuses = [...replies.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status)
    assert.equal(statuses.pop(), '429')
    assert.ok(statuses.length >= 65 && statuses.length < 5_000, `${statuses.length} replies`)
    await refused('pipelining', 1)
  })

  await t.test('clients that pipeline requests and read nothing do not block others', async t => {
    await crowd(t, server, 50, PING.repeat(2_000), { deaf: true })
    await stillServes(server)
  })

  await t.test('a refused body is not read forever', async t => {
    const start = head('POST /api/v1/apps HTTP/1.1', 'Transfer-Encoding: chunked')
    const clients = await crowd(t, server, 20, start)
    const stop = drip(clients, `1000\r\n${' '.repeat(4096)}\r\n`)
    await gone(clients)
    stop()
    for (const { heard } of clients) assert.match(heard, /^HTTP\/1\.1 401 /)
    await refused('late_body', clients.length)
  })

  await t.test('an unexpected body does no harm', async () => {
    const ping = head('GET /api/v1/ping HTTP/1.1', 'Content-Length: 100000', 'Connection: close')
    assert.match(await exchange(server.port, ping + ' '.repeat(100_000)), /^HTTP\/1\.1 200 /)
  })

  await t.test('headers beyond 16 KB or 100 in number are refused with 431', async () => {
    const many = Array.from({ length: 101 }, (_, index) => `X-${index}: a`)
    for (const headers of [[`X-Big: ${'a'.repeat(200_000)}`], many])
      assert.match(await exchange(server.port, head('GET /health HTTP/1.1', ...headers)), /^HTTP\/1\.1 431 /)
  })

  await t.test('the connection of a client that closes its half is closed', async t => {
    const clients = await crowd(t, server, MANY, '')
    for (const { socket } of clients) socket.end()
    await gone(clients)
  })

  await t.test('connections reset in the middle of a body are released', async t => {
    const clients = await crowd(t, server, MANY, post)
    await eventually(
      () => sample(server, 'rhone_http_requests_in_flight'),
      inFlight => inFlight > 1
    )
    for (const { socket } of clients) socket.resetAndDestroy()
    await eventually(
      () => sample(server, 'rhone_http_requests_in_flight'),
      inFlight => inFlight <= 1
    )
  })

  await t.test('upgrades are ignored, and HTTP/1.0 is answered', async () => {
    const upgrade = head('GET /health HTTP/1.1', 'Connection: Upgrade, close', 'Upgrade: websocket')
    assert.match(await exchange(server.port, upgrade), /^HTTP\/1\.1 200 /)
    assert.match(await exchange(server.port, 'GET /health HTTP/1.0\r\n\r\n'), /^HTTP\/1\.1 200 [\s\S]*close/i)
  })

  await t.test('at the maximum, silent connections are closed in favour of active ones', async t => {
    const crowded = await crowd(t, server, 600, '')
    await stillServes(server)
    await eventually(
      () => refusals('displaced'),
      count => count >= 200
    )
    await refused('full', 0)
    await gone(crowded)
  })

  await t.test('afterwards it has no open connections, is ready, and has logged only a few lines', async () => {
    await eventually(
      () => sample(server, 'rhone_connections{state="new"}'),
      open => open === 0
    )
    assert.equal((await fetch(`${server.url}/ready`)).status, 200)
    const told = server.logs().filter(({ msg }) => msg === 'connections were refused or closed')
    assert.ok(told.length >= 1 && told.length <= 8, `${told.length} lines`)
    assert.equal(server.logs().filter(({ level }) => level === 'fatal').length, 0)
  })
})

interface Client {
  readonly socket: Socket
  heard: string
}

/** Connections that each send `bytes`. A deaf one never reads. */
async function crowd(t: TestContext, { port }: RunningServer, size: number, bytes: string, { deaf = false } = {}) {
  const clients = Array.from({ length: size }, (): Client => {
    const socket = connect(port, '127.0.0.1', () => bytes && socket.write(bytes))
    const client = { socket, heard: '' }
    if (deaf) socket.pause()
    else socket.on('data', chunk => (client.heard += chunk))
    socket.on('error', () => {})
    t.after(() => socket.destroy())
    return client
  })
  await Promise.all(clients.map(({ socket }) => socket.connecting && once(socket, 'connect')))
  return clients
}

/** Sends a little more on every connection, repeatedly. */
function drip(clients: readonly Client[], bytes: string): () => void {
  const timer = setInterval(() => {
    for (const { socket } of clients) if (socket.writable) socket.write(bytes)
  }, 100)
  return () => clearInterval(timer)
}

async function gone(clients: readonly Client[]): Promise<void> {
  await eventually(
    () => clients.filter(({ socket }) => !socket.closed).length,
    open => open === 0
  )
}

/** An ordinary client with its own connection and usual timeouts. */
async function stillServes({ url, token }: RunningServer): Promise<void> {
  for (let request = 0; request < 5; request++) {
    const headers = { authorization: `Bearer ${token}`, connection: 'close' }
    const reply = await fetch(`${url}/api/v1/apps`, { headers, signal: AbortSignal.timeout(20_000) })
    assert.equal(reply.status, 200)
    await reply.arrayBuffer()
  }
}

/** The value of one series, at most a second old. */
async function sample({ url }: RunningServer, series: string): Promise<number> {
  const metrics = await (await fetch(`${url}/metrics`)).text()
  return Number(
    metrics
      .split('\n')
      .find(line => line.startsWith(`${series} `))
      ?.split(' ')[1]
  )
}

async function residentMegabytes({ child }: RunningServer): Promise<number> {
  const status = await readFile(`/proc/${child.pid}/status`, 'utf8').catch(() => 'VmRSS: 0')
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024
}
