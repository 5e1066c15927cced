import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { connect } from 'node:net'
import { type TestContext, test } from 'node:test'
import fc from 'fast-check'
import type { DeployedApp } from '../../integrations/deployer/port.ts'
import { eventually } from '../support/eventually.ts'
import { type LocalMachine, localMachine, newApp } from '../support/local-apps.ts'
import { exchange } from '../support/process.ts'

/**
 * Returns the request that it received, and answers `/reply/<bytes in base64url>` with these bytes. `/port` returns the port
 * for direct connections.
 */
const MIRROR = `
  const server = http.createServer({ maxHeaderSize: 200_000 }, (q, s) => {
    if (q.url === '/long') return s.writeHead(200, { 'X-Long': 'y'.repeat(70_000) }).end()
    if (q.url === '/port') return s.end(process.env.PORT)
    if (q.url.startsWith('/reply/')) {
      q.resume().on('end', () => q.socket.end(Buffer.from(q.url.slice(7), 'base64url')))
      return
    }
    const hash = require('node:crypto').createHash('sha256')
    q.on('data', chunk => hash.update(chunk))
    q.on('end', () => {
      const { method, url, rawHeaders, rawTrailers } = q
      s.end(JSON.stringify({ method, url, rawHeaders, rawTrailers, body: hash.digest('hex') }))
    })
  })
  server.on('checkContinue', (q, s) => q.headers['x-refuse'] ? s.writeHead(413).end() : (s.writeContinue(), server.emit('request', q, s)))
  server.on('upgrade', (q, socket, head) => {
    socket.write('HTTP/1.1 101 My Words\\r\\nConnection: Upgrade\\r\\nUpgrade: echo\\r\\nX-Name: caf\\xe9\\r\\n\\r\\n', 'latin1')
    socket.write(head)
    socket.pipe(socket)
  })
  server.maxHeadersCount = 0
  server.listen(process.env.PORT, '127.0.0.1')`

interface Place {
  readonly app: DeployedApp
  readonly host: string
  /** Of the proxy, and of the app itself. */
  readonly ports: readonly [proxied: number, direct: number]
}

async function mirror(t: TestContext): Promise<Place> {
  const machine: LocalMachine = await localMachine(t)
  const app = newApp()
  await machine.deploy(await machine.release(app, MIRROR))
  const { host, port } = new URL(machine.deployer.urlOf(app))
  return { app, host, ports: [Number(port), Number((await machine.get(app, '/port')).body)] }
}

interface Seen {
  readonly status: number
  readonly reason: string
  readonly headers: readonly string[]
  readonly trailers: readonly string[]
  readonly informed: readonly number[]
  readonly body: string
}

interface Question {
  readonly method: string
  readonly path: string
  readonly headers?: readonly string[]
  readonly trailers?: [string, string][]
  readonly body?: Buffer
}

/** A reply as a client sees it, except for connection headers and the date. */
async function ask(port: number, host: string, question: Question): Promise<Seen> {
  const { method, path, headers = [], body = Buffer.alloc(0), trailers = [] } = question
  const all = ['Host', host, 'Connection', 'close', ...headers]
  const asked = request({ host: '127.0.0.1', port, method, path, headers: all, agent: false, maxHeaderSize: 200_000 })
  asked.maxHeadersCount = 0
  const informed: number[] = []
  asked.on('information', ({ statusCode }) => informed.push(statusCode))
  asked.addTrailers(trailers)
  asked.end(body)
  const [reply] = (await once(asked, 'response')) as [IncomingMessage]
  const chunks: Buffer[] = []
  for await (const chunk of reply) chunks.push(chunk)
  return {
    status: reply.statusCode!,
    reason: reply.statusMessage!,
    headers: without(reply.rawHeaders, ['connection', 'keep-alive', 'transfer-encoding', 'date']),
    trailers: reply.rawTrailers,
    informed,
    body: Buffer.concat(chunks).toString('latin1')
  }
}

function without(headers: readonly string[], names: readonly string[]): string[] {
  return headers.flatMap((name, at) =>
    at % 2 === 0 && !names.includes(name.toLowerCase()) ? [`${name}: ${headers[at + 1]}`] : []
  )
}

const OF_THE_PROXY = ['host', 'connection', 'x-forwarded-for', 'x-forwarded-host', 'x-forwarded-proto']

const token = fc.stringMatching(/^[A-Za-z][A-Za-z0-9-]{0,12}$/).map(name => `X-${name}`)
/** All bytes that a header may contain, as Node represents them: one character each. */
const fieldValue = fc.stringMatching(/^[!-~\x80-\xff]([ !-~\x80-\xff]{0,40}[!-~\x80-\xff])?$/)
const field = fc.tuple(token, fieldValue)
const fields = fc.array(field, { maxLength: 12 })
const bodies = fc.uint8Array({ maxLength: 3_000 }).map(bytes => Buffer.from(bytes))

test('the proxy is transparent', async t => {
  // One app for all of these, since they change nothing.
  const { host, ports } = await mirror(t)

  await t.test('an app receives any request as on a direct connection', async () => {
    const method = fc.constantFrom('GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'PROPFIND', 'QUERY')
    const path = fc.stringMatching(/^[!$-;=?-~]{0,30}$/).map(rest => `/${rest}`)
    const framing = fc.constantFrom('none', 'length', 'chunked')
    await fc.assert(
      fc.asyncProperty(
        method,
        path,
        fields,
        framing,
        bodies,
        fields,
        async (method, path, fields, framing, body, trailers) => {
          const isChunked = framing === 'chunked'
          const question: Question = {
            method,
            path,
            headers: [
              ...fields.flat(),
              ...(isChunked ? ['Transfer-Encoding', 'chunked'] : []),
              ...(framing === 'length' ? ['Content-Length', String(body.length)] : [])
            ],
            trailers: isChunked ? trailers : [],
            ...(framing !== 'none' && { body })
          }
          const [proxied, direct] = await Promise.all(
            ports.map(async port => {
              const { rawHeaders, ...seen } = JSON.parse((await ask(port, host, question)).body)
              return { ...seen, headers: without(rawHeaders, OF_THE_PROXY).sort() }
            })
          )
          assert.deepEqual(proxied, direct)
        }
      ),
      { numRuns: 100 }
    )
  })

  await t.test('a client receives any reply as on a direct connection', async () => {
    const status = fc.constantFrom(200, 201, 204, 206, 299, 302, 304, 404, 418, 451, 500, 503, 599, 799)
    const reason = fc.stringMatching(/^[A-Za-z\x80-\xff][ A-Za-z\x80-\xff]{0,20}$/)
    const framing = fc.constantFrom('length', 'chunked', 'close')
    const informed = fc.array(fc.constantFrom(102, 103, 110), { maxLength: 2 })
    const method = fc.constantFrom('GET', 'HEAD', 'POST')
    await fc.assert(
      fc.asyncProperty(
        ...([method, status, reason, fields, framing, bodies, fields, informed] as const),
        async (method, status, reason, fields, framing, body, trailers, informed) => {
          const bytes = replyOf({ method, status, reason, fields, framing, body, trailers, informed })
          const path = `/reply/${bytes.toString('base64url')}`
          const [proxied, direct] = await Promise.all(ports.map(port => ask(port, host, { method, path })))
          assert.deepEqual(proxied, direct)
        }
      ),
      { numRuns: 150 }
    )
  })

  await t.test('heads of up to 64 KB pass both ways, with any number of headers', async () => {
    for (const [count, size] of [
      [3_500, 4],
      [3, 15_000],
      [50, 1_000]
    ] as const) {
      const many = Array.from({ length: count }, (_, at) => [`X-${at}`, 'v'.repeat(size)] as [string, string])
      const echo = JSON.parse((await ask(ports[0], host, { method: 'GET', path: '/', headers: many.flat() })).body)
      assert.equal(without(echo.rawHeaders, OF_THE_PROXY).length, count)
    }
    const wide = replyOf({ ...ordinary, fields: [['X-Wide', 'w'.repeat(30_000)]] })
    const { headers } = await ask(ports[0], host, { method: 'GET', path: `/reply/${wide.toString('base64url')}` })
    assert.equal(headers[0]?.length, 30_008)
  })

  await t.test('limits of the platform are not blamed on the app', async () => {
    const long = await ask(ports[0], host, { method: 'GET', path: '/long' })
    assert.match(long.body, /reply exceed 64 KB/)
  })

  await t.test(
    'a reply that says its length twice is passed on where both are the same, and refused otherwise',
    async () => {
      const replied = (lengths: string, before = '') => {
        const bytes = Buffer.from(`${before}HTTP/1.1 200 OK\r\nX-Before: 1\r\n${lengths}X-After: 1\r\n\r\nok`)
        return ask(ports[0], host, { method: 'GET', path: `/reply/${bytes.toString('base64url')}` })
      }
      const early = 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n'
      for (const lengths of [
        'Content-Length: 2\r\nContent-Length: 2\r\n',
        'content-length:2\r\nX-Between: 1\r\nCONTENT-LENGTH: 2 \r\nContent-Length: 2\r\n',
        'Content-Length: 2, 2\r\n'
      ])
        for (const before of ['', early]) {
          const { status, body, headers } = await replied(lengths, before)
          assert.deepEqual([status, body], [200, 'ok'], lengths)
          assert.equal(headers.filter(text => /^content-length/i.test(text)).length, 1)
          assert.equal(headers.filter(text => /^x-(before|after)/i.test(text)).length, 2)
        }
      for (const lengths of ['Content-Length: 2\r\nContent-Length: 3\r\n', 'Content-Length: 2, 3\r\n'])
        assert.match((await replied(lengths)).body, /is not valid HTTP/)
    }
  )

  await t.test('a request with a body that offers an upgrade keeps its body', async () => {
    const body = Buffer.from('name=value')
    const headers = [
      'Upgrade',
      'h2c',
      'HTTP2-Settings',
      'AAMAAABkAAQAoAAAAAIAAAAA',
      'Connection',
      'close, Upgrade, HTTP2-Settings'
    ]
    const raw = (port: number) =>
      exchange(
        port,
        `POST / HTTP/1.1\r\nHost: ${host}\r\n${headers.map((text, at) => text + (at % 2 === 0 ? ': ' : '\r\n')).join('')}Content-Length: 10\r\n\r\n${body}`
      )
    const sha = /"body":"(\w+)"/
    assert.equal(
      sha.exec(await raw(ports[0]))?.[1],
      sha.exec(
        (await ask(ports[1], host, { method: 'POST', path: '/', headers: ['Content-Length', '10'], body })).body
      )?.[1]
    )
  })

  await t.test('an upgraded connection and its head are forwarded unchanged', async () => {
    const socket = connect(ports[0], '127.0.0.1')
    let received = ''
    socket.setEncoding('latin1').on('data', chunk => {
      received += chunk
    })
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, at) => at))
    const head = `GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n`
    socket.write(Buffer.concat([Buffer.from(head), bytes]))
    await eventually(() => received.endsWith(bytes.toString('latin1')))
    assert.match(received, /^HTTP\/1\.1 101 My Words\r\n/)
    assert.match(received, /\r\nX-Name: caf\xe9\r\n/)
    socket.destroy()
  })

  await t.test('the app decides whether a body is wanted before it is sent', async () => {
    for (const port of ports) {
      const head = `POST / HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 4\r\nExpect: 100-continue\r\nConnection: close\r\n`
      assert.match(await exchange(port, `${head}X-Refuse: 1\r\n\r\n`), /^HTTP\/1\.1 413 /)
      const socket = connect(port, '127.0.0.1')
      socket.write(`${head}\r\n`)
      const [first] = await once(socket, 'data')
      assert.match(String(first), /^HTTP\/1\.1 100 Continue\r\n/)
      socket.write('body')
      const [reply] = await once(socket, 'data')
      assert.match(String(reply), /^HTTP\/1\.1 200 /)
      socket.destroy()
    }
  })

  await t.test('a target in absolute form reaches its app', async () => {
    const reply = await exchange(
      ports[0],
      `GET http://${host}/a?b HTTP/1.1\r\nHost: elsewhere\r\nConnection: close\r\n\r\n`
    )
    assert.match(reply, /"url":"\/a\?b"/)
    const bare = await exchange(ports[0], `GET http://${host}?b HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)
    assert.match(bare, /"url":"\/\?b"/)
  })
})

interface Reply {
  readonly method: string
  readonly status: number
  readonly reason: string
  readonly fields: readonly (readonly [string, string])[]
  readonly framing: string
  readonly body: Buffer
  readonly trailers: readonly (readonly [string, string])[]
  readonly informed: readonly number[]
}

const ordinary: Reply = {
  method: 'GET',
  status: 200,
  reason: 'OK',
  fields: [],
  framing: 'length',
  body: Buffer.alloc(0),
  trailers: [],
  informed: []
}

function replyOf({ method, status, reason, fields, framing, body, trailers, informed }: Reply): Buffer {
  const text = (fields: Reply['fields']) => fields.map(([name, value]) => `${name}: ${value}\r\n`).join('')
  const isBare = method === 'HEAD' || status === 204 || status === 304
  const how = { length: `Content-Length: ${body.length}\r\n`, chunked: 'Transfer-Encoding: chunked\r\n', close: '' }[
    framing
  ]
  const chunks = body.length === 0 ? [] : [Buffer.from(`${body.length.toString(16)}\r\n`), body, Buffer.from('\r\n')]
  const content = framing === 'chunked' ? [...chunks, Buffer.from(`0\r\n${text(trailers)}\r\n`, 'latin1')] : [body]
  const before = informed.map(code => `HTTP/1.1 ${code} Info\r\nX-Early: 1\r\n\r\n`).join('')
  const head = `${before}HTTP/1.1 ${status} ${reason}\r\n${text(fields)}${status === 204 ? '' : how}\r\n`
  return Buffer.concat([Buffer.from(head, 'latin1'), ...(isBare ? [] : content)])
}
