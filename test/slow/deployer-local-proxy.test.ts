import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Agent, request } from 'node:http'
import { connect, createServer, type Socket } from 'node:net'
import { test } from 'node:test'
import type { DeployedApp } from '../../integrations/deployer/port.ts'
import { eventually } from '../support/eventually.ts'
import { answering, get, type LocalMachine, localMachine, never, newApp } from '../support/local-apps.ts'
import { exchange } from '../support/process.ts'
import { repeatedly } from '../support/repeatedly.ts'

const listens = `.listen(process.env.PORT, '127.0.0.1')`

const placeOf = ({ deployer }: LocalMachine, app: DeployedApp) => {
  const { host, port } = new URL(deployer.urlOf(app))
  return { host, port: Number(port) }
}

test('no request fails while versions change under load', async t => {
  const machine = await localMachine(t)
  const app = newApp()
  // Slow enough that requests are always under way, and quick to close idle connections.
  const version = (name: string) => `
    const server = http.createServer((q, s) => {
      let size = 0
      q.on('data', chunk => { size += chunk.length })
      q.on('end', () => setTimeout(() => s.end(${JSON.stringify(name)} + size), Math.random() * 40))
    })${listens}
    server.keepAliveTimeout = 20`
  let live = await machine.deploy(await machine.release(app, version('v0:')))

  const agent = new Agent({ keepAlive: true })
  t.after(() => agent.destroy())
  const seen = new Map<string, number>()
  const failures: string[] = []
  const ask = async (method: string) => {
    const body = method === 'POST' ? 'x'.repeat(5_000) : undefined
    try {
      const reply = await machine.get(app, '/', { method, agent, ...(body && { body }) })
      if (reply.status !== 200) failures.push(`${reply.status} ${reply.body}`)
      if (!reply.body.endsWith(body ? ':5000' : ':0')) failures.push(reply.body)
      const name = reply.body.split(':')[0]!
      seen.set(name, (seen.get(name) ?? 0) + 1)
    } catch (error) {
      failures.push(String(error))
    }
  }
  const methods = ['GET', 'POST', 'GET', 'POST', 'GET', 'POST', 'PUT', 'GET']
  const clients = methods.map(method => repeatedly(t.signal, () => ask(method)))
  const isBusyWith = (name: string) =>
    eventually(
      () => seen.get(name) ?? 0,
      count => count > 20
    )
  await isBusyWith('v0')
  for (const name of ['v1', 'v2', 'v3']) {
    live = await machine.deploy(await machine.release(app, version(`${name}:`)))
    await machine.deployer.retire(app, live.deploymentId, never)
    await isBusyWith(name)
  }
  await Promise.all(clients.map(client => client.stop()))
  assert.deepEqual(failures, [])
  assert.deepEqual([...seen.keys()].sort(), ['v0', 'v1', 'v2', 'v3'])
})

test('a request in flight completes on the release that it started on', async t => {
  const machine = await localMachine(t)
  const app = newApp()
  await machine.deploy(
    await machine.release(
      app,
      `let slow = 0
      http.createServer((q, s) => {
        if (q.url !== '/slow') return s.end(String(slow))
        slow++
        s.write('old, ')
        setTimeout(() => s.end('to the end'), 700)
      })${listens}`
    )
  )
  const slow = machine.get(app, '/slow')
  await eventually(async () => (await machine.get(app)).body === '1')
  const next = await machine.deploy(await machine.release(app, answering('new')))
  const retired = machine.deployer.retire(app, next.deploymentId, never)
  assert.equal((await machine.get(app)).body, 'new')
  assert.equal((await slow).body, 'old, to the end')
  await retired
})

test('an endless request delays a retirement only for the drain time, and is visibly cut off', async t => {
  const machine = await localMachine(t, { drain: 300 })
  const app = newApp()
  await machine.deploy(
    await machine.release(
      app,
      `let endless = 0
      http.createServer((q, s) => {
        if (q.url !== '/') return s.end(String(endless))
        endless++
        s.write('endless')
      })${listens}`
    )
  )
  const endless = assert.rejects(machine.get(app), /aborted|hang up|ECONNRESET/)
  await eventually(async () => (await machine.get(app, '/count')).body === '1')
  await machine.deployer.retire(app, null, never)
  await endless
})

test('forwarding and connection headers of a client do not reach the app', async t => {
  const machine = await localMachine(t)
  const app = newApp()
  await machine.deploy(
    await machine.release(app, `http.createServer((q, s) => s.end(JSON.stringify(q.rawHeaders)))${listens}`)
  )
  const { host, port } = placeOf(machine, app)
  const head = [
    `GET / HTTP/1.1`,
    `Host: ${host}`,
    'X-Forwarded-For: 1.2.3.4',
    'X-Forwarded-Proto: https',
    'Forwarded: for=1.2.3.4',
    'Keep-Alive: timeout=99',
    'Proxy-Authorization: Basic c2VjcmV0',
    'X-Internal: drop me',
    'X-Kept: one',
    'X-Kept: two',
    'Connection: x-internal, content-length, close'
  ]
  const reply = await exchange(port, `${head.join('\r\n')}\r\n\r\n`)
  const headers: string[] = JSON.parse(/\[.*\]/.exec(reply)![0])
  const pairs = headers.flatMap((name, at) => (at % 2 === 0 ? [`${name.toLowerCase()}: ${headers[at + 1]}`] : []))
  assert.deepEqual(pairs.sort(), [
    'connection: keep-alive',
    `host: ${host}`,
    'x-forwarded-for: 127.0.0.1',
    `x-forwarded-host: ${host}`,
    'x-forwarded-proto: http',
    'x-kept: one',
    'x-kept: two'
  ])
})

test('replies arrive as the app sent them', async t => {
  const machine = await localMachine(t)
  const app = newApp()
  await machine.deploy(
    await machine.release(
      app,
      `http.createServer((q, s) => {
        s.setHeader('Set-Cookie', ['a=1', 'b=2'])
        s.setHeader('X-Dropped', 'x')
        s.setHeader('Connection', 'close, X-Dropped')
        if (q.url === '/304') { s.statusCode = 304; return s.end() }
        if (q.url === '/teapot') { s.writeHead(418, 'Short And Stout'); return s.end('tea') }
        s.setHeader('Content-Length', 3)
        s.end('abc')
      })${listens}`
    )
  )
  const plain = await machine.get(app)
  assert.deepEqual([plain.status, plain.body, plain.headers['set-cookie']], [200, 'abc', ['a=1', 'b=2']])
  assert.equal(plain.headers['x-dropped'], undefined)
  const head = await machine.get(app, '/', { method: 'HEAD' })
  assert.deepEqual([head.status, head.body, head.headers['content-length']], [200, '', '3'])
  assert.equal((await machine.get(app, '/304')).status, 304)
  assert.equal((await machine.get(app, '/teapot')).body, 'tea')
})

test('bodies are streamed both ways', async t => {
  const machine = await localMachine(t)
  const app = newApp()
  await machine.deploy(await machine.release(app, `http.createServer((q, s) => q.pipe(s))${listens}`))
  const { host, port } = placeOf(machine, app)
  for (const method of ['POST', 'DELETE']) {
    const asked = request({
      host: '127.0.0.1',
      port,
      method,
      headers: { host, 'transfer-encoding': 'chunked' },
      agent: false
    })
    asked.write('first')
    const [reply] = await once(asked, 'response')
    const [echo] = await once(reply, 'data')
    assert.equal(String(echo), 'first', 'before the request has ended')
    asked.end('second')
    let rest = ''
    for await (const chunk of reply) rest += chunk
    assert.equal(rest, 'second')
  }
  const large = 'x'.repeat(5_000_000)
  assert.equal((await machine.get(app, '/', { method: 'PUT', body: large })).body.length, large.length)
})

test('an app can reply before it has read the request', async t => {
  const machine = await localMachine(t)
  const app = newApp()
  await machine.deploy(
    await machine.release(
      app,
      `http.createServer((q, s) => {
        if (q.method !== 'POST') return s.end()
        s.writeHead(413).end('too large')
      })${listens}`
    )
  )
  const reply = await machine.get(app, '/', { method: 'POST', body: 'x'.repeat(20_000_000) })
  assert.deepEqual([reply.status, reply.body], [413, 'too large'])
})

test('a body that continues after the reply is drained, so that the reply is not lost', async t => {
  const machine = await localMachine(t)
  const app = newApp()
  await machine.deploy(await machine.release(app, `http.createServer((q, s) => s.end('early'))${listens}`))
  const { host, port } = placeOf(machine, app)
  for (const [name, expected] of [
    [host, /early/],
    ['none.localhost', /No app is deployed/]
  ] as const) {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    // Fails if the connection is reset.
    const closed = once(socket, 'close')
    let received = ''
    socket.on('data', chunk => {
      received += chunk
    })
    socket.write(`POST / HTTP/1.1\r\nHost: ${name}\r\nConnection: close\r\nContent-Length: 1000\r\n\r\n`)
    await eventually(
      () => received,
      text => expected.test(text)
    )
    for (let part = 0; part < 10; part++) await new Promise(taken => socket.write('x'.repeat(100), taken))
    socket.end()
    await closed
  }
})

test('a websocket is proxied, and closed when its release is retired', async t => {
  const machine = await localMachine(t)
  const app = newApp()
  await machine.deploy(
    await machine.release(
      app,
      `const server = http.createServer((q, s) => s.end('plain'))${listens}
      server.on('upgrade', (q, socket, head) => {
        if (q.url === '/refused') return socket.end('HTTP/1.1 403 Forbidden\\r\\nContent-Length: 2\\r\\n\\r\\nno')
        socket.write('HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\nSec-WebSocket-Accept: x\\r\\n\\r\\nhello ')
        socket.write(head)
        socket.pipe(socket)
      })`
    )
  )
  const { host, port } = placeOf(machine, app)
  const upgrade = (path: string) =>
    `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n`

  const socket = connect(port, '127.0.0.1')
  let received = ''
  socket.on('data', chunk => {
    received += chunk
  })
  socket.write(`${upgrade('/')}early`)
  await eventually(
    () => received,
    text => text.endsWith('hello early')
  )
  assert.match(received, /^HTTP\/1.1 101 [\s\S]*sec-websocket-accept: x\r\n/i)
  socket.write(' late')
  await eventually(
    () => received,
    text => text.endsWith('hello early late')
  )

  assert.match(await exchange(port, upgrade('/refused')), /^HTTP\/1.1 403 [\s\S]*no$/)

  const closed = once(socket, 'close')
  const next = await machine.deploy(await machine.release(app, answering('no sockets here')))
  await machine.deployer.retire(app, next.deploymentId, never)
  await closed
  assert.match(
    await exchange(port, upgrade('/')),
    /^HTTP\/1.1 200 [\s\S]*no sockets here/,
    'an app may ignore the wish'
  )
})

test('hostile hosts and requests are refused and do no harm', async t => {
  const machine = await localMachine(t)
  const app = newApp()
  await machine.deploy(await machine.release(app, answering('mine')))
  const { host, port } = placeOf(machine, app)
  const hosts = [
    'localhost',
    '127.0.0.1',
    'example.com',
    `${app.slug}.example.com`,
    `evil.${host}`,
    `${app.slug}.localhost.evil.com`,
    '..localhost',
    '%00.localhost',
    '__proto__.localhost',
    'constructor.localhost',
    `${app.slug}.localhost:80:80`,
    'x'.repeat(10_000),
    `${'a.'.repeat(2_000)}localhost`,
    '\xff\xfe.localhost',
    '<script>.localhost',
    '-.localhost'
  ]
  for (const hostile of hosts)
    assert.match(
      await exchange(port, Buffer.from(`GET / HTTP/1.1\r\nHost: ${hostile}\r\nConnection: close\r\n\r\n`, 'latin1')),
      /^HTTP\/1.1 (404|400) /,
      hostile.slice(0, 40)
    )
  const requests: [bytes: string, reply: RegExp][] = [
    [`GET / HTTP/1.1\r\nConnection: close\r\n\r\n`, /^HTTP\/1.1 400 /],
    [`GET http://${host}/ HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`, /^HTTP\/1.1 200 /],
    [`GET http://nobody.localhost/ HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`, /^HTTP\/1.1 404 /],
    [`GET ftp://${host}/ HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`, /^HTTP\/1.1 400 /],
    [`CONNECT ${host} HTTP/1.1\r\nHost: ${host}\r\n\r\n`, /^(HTTP\/1.1 4|$)/],
    [
      `POST / HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
      /^HTTP\/1.1 400 /
    ],
    [`GET / HTTP/1.1\r\nHost: ${host}\r\nX: ${'y'.repeat(100_000)}\r\n\r\n`, /^HTTP\/1.1 431 /],
    [`GET / HTTP/1.1\r\nHost: ${host}\r\nX: \xff\x80\xfe\r\nConnection: close\r\n\r\n`, /^HTTP\/1.1 (200|400) /],
    [`GET /\xff\x80 HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`, /^HTTP\/1.1 (200|400) /],
    [`\x16\x03\x01\x02\x00\x01`, /^HTTP\/1.1 400 /],
    [`OPTIONS * HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`, /^HTTP\/1.1 200 /],
    [`GET / HTTP/1.1\r\nHost: ${host}\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n`, /^HTTP\/1.1 200 /],
    [`GET / HTTP/1.1\r\nHost: nobody.localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n`, /^HTTP\/1.1 404 /]
  ]
  for (const [bytes, expected] of requests)
    assert.match(await exchange(port, Buffer.from(bytes, 'latin1')), expected, bytes.slice(0, 60))
  const spelled = await get(machine.deployer.urlOf(app), '/', { headers: { host: host.toUpperCase() } })
  assert.equal(spelled.body, 'mine')
  assert.equal((await machine.get(app)).body, 'mine')
})

test('invalid replies and broken connections become 502', async t => {
  const machine = await localMachine(t)
  const app = newApp()
  await machine.deploy(
    await machine.release(
      app,
      `const replies = {
        '/health': 'HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n',
        '/nothing': '',
        '/junk': 'what?\\r\\n\\r\\n',
        '/099': 'HTTP/1.1 099 Odd\\r\\nContent-Length: 0\\r\\n\\r\\n',
        '/101': 'HTTP/1.1 101 Surprise\\r\\nUpgrade: x\\r\\nConnection: upgrade\\r\\n\\r\\n',
        '/reason': 'HTTP/1.1 200 \\x01\\x02\\r\\nContent-Length: 2\\r\\n\\r\\nok',
        '/half': 'HTTP/1.1 200 OK\\r\\nContent-Length: 100\\r\\n\\r\\nhalf'
      }
      require('node:net').createServer(socket => {
        socket.on('error', () => {})
        socket.on('data', data => socket.end(Buffer.from(replies[String(data).split(' ')[1]] ?? '', 'latin1')))
      })${listens}`
    )
  )
  for (const path of ['/nothing', '/junk', '/099', '/101']) {
    const reply = await machine.get(app, path)
    assert.deepEqual([path, reply.status, JSON.parse(reply.body).error.code], [path, 502, 'BAD_GATEWAY'])
  }
  assert.ok([200, 502].includes((await machine.get(app, '/reason')).status))
  await assert.rejects(machine.get(app, '/half'), /aborted|hang up|ECONNRESET/, 'half a reply does not look whole')
  const page = await machine.get(app, '/junk', { headers: { accept: 'text/html' } })
  assert.match(String(page.headers['content-type']), /^text\/html/)
})

test('an aborted request is aborted at the app, and slow clients do not delay others', async t => {
  const machine = await localMachine(t)
  const app = newApp()
  await machine.deploy(
    await machine.release(
      app,
      `let come = 0, gone = 0
      http.createServer((q, s) => {
        if (q.url === '/come') return s.end(String(come))
        if (q.url === '/gone') return s.end(String(gone))
        if (q.url !== '/wait') return s.end('quick')
        come++
        s.on('close', () => gone++)
      })${listens}`
    )
  )
  const { host, port } = placeOf(machine, app)
  const slow = Array.from({ length: 20 }, () => connect(port, '127.0.0.1'))
  for (const socket of slow)
    socket.on('error', () => {}).write(`POST /wait HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 9\r\n\r\nx`)
  await eventually(async () => (await machine.get(app, '/come')).body === '20')
  assert.equal((await machine.get(app)).body, 'quick')
  for (const socket of slow) socket.destroy()
  await eventually(
    async () => (await machine.get(app, '/gone')).body,
    count => count === '20'
  )
})

test('a stopped app and an unknown host get different replies', async t => {
  const machine = await localMachine(t)
  const app = newApp()
  await machine.deploy(
    await machine.release(
      app,
      `const fs = require('node:fs'), note = process.env.HOME + '/note'
      if (fs.existsSync(note)) process.exit(1)
      http.createServer((q, s) => { if (q.url === '/die') { fs.writeFileSync(note, ''); process.exit() } s.end() })${listens}`
    )
  )
  assert.equal((await machine.get(app, '/die')).status, 502)
  const down = await eventually(
    () => machine.get(app),
    ({ status }) => status === 503
  )
  assert.equal(down.headers['retry-after'], '1')
  assert.equal((await machine.get(newApp('never-there'))).status, 404)
})

test('apps keep their port, whether it was configured, taken or random', async t => {
  const taken = createServer()
  await new Promise<void>(resolve => taken.listen(0, '127.0.0.1', resolve))
  t.after(() => taken.close())
  const { port } = taken.address() as { port: number }
  const machine = await localMachine(t, { port })
  const app = newApp()
  assert.equal(machine.deployer.urlOf(app), `http://${app.slug}.localhost:${port}/`, 'as far as is known before')
  const release = await machine.deploy(await machine.release(app, answering('here')))
  const url = machine.deployer.urlOf(app)
  assert.notEqual(new URL(url).port, String(port))
  assert.equal((await machine.get(app)).body, 'here')

  assert.equal(await machine.deployer.stop(never), true)
  await new Promise(resolve => taken.close(resolve))
  await machine.deploy(release)
  assert.equal(machine.deployer.urlOf(app), url)
  assert.equal((await machine.get(app)).body, 'here')
})

test('local apps are reachable from this machine only', async t => {
  const machine = await localMachine(t)
  const app = newApp()
  await machine.deploy(await machine.release(app, answering('here')))
  const { port } = placeOf(machine, app)
  const { networkInterfaces } = await import('node:os')
  const outside = Object.values(networkInterfaces())
    .flatMap(addresses => addresses ?? [])
    .filter(({ internal }) => !internal)
  for (const { address, family } of outside) {
    if (address.startsWith('fe80')) continue
    const socket: Socket = connect({ host: address, port, family: family === 'IPv6' ? 6 : 4 })
    await assert.rejects(once(socket, 'connect'), /ECONNREFUSED/)
  }
})
