import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, connect } from 'node:net'
import { type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import Fastify, { type FastifyBaseLogger, type FastifyInstance, type FastifyServerOptions } from 'fastify'
import { type Logger, pino } from 'pino'
import logging from '../../plugins/logging/index.ts'
import { lazyChildren } from '../../plugins/logging/lazy-child.ts'
import { createLogger, OneLinePerRequest } from '../../plugins/logging/logger.ts'
import { entryWriter } from '../../plugins/logging/request-line.ts'

type Line = Record<string, unknown>

const run = promisify(execFile)
const moduleUrl = (name: string) =>
  pathToFileURL(new URL(`../../plugins/logging/${name}`, import.meta.url).pathname).href

/** Collects lines, and lets a test wait for one. */
function logbook() {
  const lines: Line[] = []
  const waiting: { wants: (line: Line) => boolean; resolve: (line: Line) => void }[] = []
  return {
    lines,
    write(text: string) {
      const line = JSON.parse(text)
      lines.push(line)
      for (const { wants, resolve } of waiting) if (wants(line)) resolve(line)
    },
    line(wants: (line: Line) => boolean): Promise<Line> {
      const known = lines.find(wants)
      return known ? Promise.resolve(known) : new Promise(resolve => waiting.push({ wants, resolve }))
    },
    ofRoute(route: string) {
      return this.line(line => line.route === route)
    }
  }
}

type Book = ReturnType<typeof logbook>

async function server(t: TestContext, options: FastifyServerOptions = {}, pluginOptions: object = {}) {
  const book = logbook()
  const app: FastifyInstance = Fastify(options)
  await app.register(logging, { destination: book, ...pluginOptions })
  app.get('/apps/:app', async () => ({ ok: true }))
  app.get('/probe', { config: { log: 'debug' } }, async () => ({ ok: true }))
  app.get('/broken', async () => {
    throw new Error('on purpose')
  })
  t.after(() => app.close())
  return { app, book }
}

test('a request without a route is logged with its path, truncated and without its query', async t => {
  const { app, book } = await server(t)
  await app.inject(`/no/such/${'x'.repeat(500)}?code=secret`)
  await app.inject('/apps/known?code=secret')
  const line = await book.line(({ status }) => status === 404)
  assert.equal(line.route, '__unmatched__')
  assert.equal(line.path, `/no/such/${'x'.repeat(191)}`)
  assert.equal(line.level, 'info')
  assert.equal('path' in (await book.ofRoute('/apps/:app')), false)
  assert.doesNotMatch(JSON.stringify(book.lines), /secret/)
})

test('a refusal by maintenance is not an error, but a failure during it is', async t => {
  const { app, book } = await server(t)
  app.decorate('maintenance', { state: { enabled: true } } as never)
  app.get('/closed', (_request, reply) => reply.code(503).send('closed'))
  app.get('/open', { config: { maintenance: false } }, (_request, reply) => reply.code(503).send('failed'))
  for (const url of ['/closed', '/open', '/broken']) await app.inject(url)
  assert.equal((await book.ofRoute('/closed')).level, 'info')
  assert.equal((await book.ofRoute('/open')).level, 'error')
  assert.equal((await book.ofRoute('/broken')).level, 'error')
})

test('without the plugin a bare app logs nothing', async () => {
  const book = logbook()
  const app = Fastify()
  app.get('/', async () => ({}))
  await app.inject('/')
  assert.deepEqual(book.lines, [])
})

test('a request is one line that names its route, never its URL', async t => {
  const { app, book } = await server(t)
  await app.inject('/apps/secret-name?code=s3cret&state=x')
  const line = await book.ofRoute('/apps/:app')
  assert.equal(book.lines.length, 1)
  assert.deepEqual(
    { level: line.level, service: line.service, method: line.method, status: line.status, msg: line.msg },
    { level: 'info', service: 'rhone', method: 'GET', status: 200, msg: 'request' }
  )
  assert.match(String(line.time), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
  assert.ok(Math.abs(Date.parse(String(line.time)) - Date.now()) < 5_000)
  assert.equal(typeof line.responseTime, 'number')
  assert.ok(line.reqId)
  assert.doesNotMatch(JSON.stringify(line), /secret-name|s3cret/)
})

test('a reply of 500 and above is an error, and a probe is debug', async t => {
  const { app, book } = await server(t, {}, { level: 'debug' })
  await app.inject('/broken')
  await app.inject('/probe')
  assert.equal((await book.ofRoute('/broken')).level, 'error')
  assert.equal((await book.ofRoute('/probe')).level, 'debug')
})

test('a refused scrape is logged, since it may be an attempt to guess tokens', async t => {
  const { app, book } = await server(t, {}, { level: 'debug' })
  app.get('/metrics/:status', { config: { log: 'debug' } }, (request, reply) =>
    reply.code(Number((request.params as { status: string }).status)).send()
  )
  for (const [status, level] of [
    [200, 'debug'],
    [401, 'info'],
    [403, 'info'],
    [404, 'debug'],
    [503, 'debug']
  ] as const) {
    await app.inject(`/metrics/${status}`)
    assert.equal((await book.line(line => line.status === status)).level, level, String(status))
  }
})

test('probes are not logged at info', async t => {
  const { app, book } = await server(t)
  await app.inject('/probe')
  await app.inject('/apps/1')
  assert.deepEqual(
    book.lines.map(({ route }) => route),
    ['/apps/:app']
  )
})

test('the line carries what other plugins know: address, user and trace', async t => {
  const { app, book } = await server(t)
  app.decorateRequest('clientIp', { getter: () => ({ address: '192.0.2.7', bucket: '192.0.2.7' }) })
  app.decorateRequest('principal', { getter: () => ({ userId: 'user-1' }) as never })
  const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
  await app.inject({ url: '/apps/1', headers: { traceparent, authorization: 'Bearer s3cret', cookie: 'a=s3cret' } })
  const line = await book.ofRoute('/apps/:app')
  assert.equal(line.address, '192.0.2.7')
  assert.equal(line.userId, 'user-1')
  assert.equal(line.traceId, '4bf92f3577b34da6a3ce929d0e0e4736')
  assert.doesNotMatch(JSON.stringify(line), /s3cret/)
})

for (const [what, head] of [
  ['GET', 'GET /slow HTTP/1.1\r\nhost: x\r\n\r\n'],
  [
    'POST whose body was read',
    'POST /slow HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}'
  ]
] as const)
  test(`a ${what} whose client leaves is logged once, as aborted with 499`, async t => {
    const { app, book } = await server(t)
    const entered = Promise.withResolvers<void>()
    const finish = Promise.withResolvers<void>()
    app.route({
      method: ['GET', 'POST'],
      url: '/slow',
      handler: async () => {
        entered.resolve()
        await finish.promise
        return { late: true }
      }
    })
    await app.listen({ host: '127.0.0.1', port: 0 })
    const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1')
    socket.write(head)
    await entered.promise
    socket.destroy()
    const line = await book.ofRoute('/slow')
    assert.equal(line.status, 499)
    assert.equal(line.outcome, 'aborted')
    finish.resolve()
    await app.close()
    assert.equal(book.lines.filter(({ route }) => route === '/slow').length, 1)
  })

/** An app with its own logger, like Rhone's. */
async function loggingServer(t: TestContext, level = 'info') {
  const book = logbook()
  const loggerInstance: FastifyBaseLogger = createLogger({ level, destination: book })
  const app = Fastify({
    loggerInstance,
    logController: new OneLinePerRequest(),
    childLoggerFactory: lazyChildren
  })
  await app.register(logging)
  t.after(() => app.close())
  return { app, book }
}

test('request.log carries the request id, at every level', async t => {
  const { app, book } = await loggingServer(t, 'trace')
  app.get('/talks', async request => {
    request.log.trace('a')
    request.log.child({ more: 1 }).warn({ fact: 2 }, 'b')
    return { id: request.id, level: request.log.level }
  })
  const { id, level } = (await app.inject('/talks')).json()
  assert.equal(level, 'trace')
  const said = book.lines.filter(({ msg }) => msg !== 'request')
  assert.deepEqual(
    said.map(({ level, msg, reqId, more, fact }) => ({ level, msg, reqId, more, fact })),
    [
      { level: 'trace', msg: 'a', reqId: id, more: undefined, fact: undefined },
      { level: 'warn', msg: 'b', reqId: id, more: 1, fact: 2 }
    ]
  )
})

for (const [whose, logger] of [
  ['ours', (book: Book) => createLogger({ level: 'info', destination: book })],
  ['pino’s own', (book: Book) => pino({ level: 'info' }, book)]
] as const)
  test(`a request that logs nothing but its line creates no logger from the app's, which is ${whose}`, async t => {
    const parent = logger(logbook()) as Logger
    const onChild = t.mock.fn()
    parent.onChild = onChild
    const app: FastifyInstance = Fastify({
      loggerInstance: parent as FastifyBaseLogger,
      childLoggerFactory: (_none, bindings, options) => parent.child(bindings, options) as FastifyBaseLogger,
      logController: new OneLinePerRequest()
    })
    await app.register(logging)
    t.after(() => app.close())
    app.get('/quiet', async () => ({}))
    app.get('/talks', async request => request.log.info('heard'))
    await app.ready()
    onChild.mock.resetCalls()
    await app.inject('/quiet')
    assert.equal(onChild.mock.callCount(), 0)
    await app.inject('/talks')
    assert.equal(onChild.mock.callCount(), 1)
  })

/** The properties of a pino logger and their types. */
function membersOf(logger: object): Map<PropertyKey, string> {
  const members = new Map<PropertyKey, string>()
  for (let level: object | null = logger; level !== null && level !== Object.prototype; ) {
    for (const key of Reflect.ownKeys(level)) members.set(key, typeof Reflect.get(logger, key))
    level = Object.getPrototypeOf(level)
  }
  return members
}

for (const [whose, logger] of [
  ['ours', (book: Book) => createLogger({ level: 'info', destination: book })],
  ['pino’s own', (book: Book) => pino({ level: 'info' }, book)]
] as const)
  test(`request.log has everything that the app's log has, which is ${whose}`, async t => {
    const book = logbook()
    const app: FastifyInstance = Fastify({ loggerInstance: logger(book) as FastifyBaseLogger })
    await app.register(logging)
    t.after(() => app.close())
    app.get('/asks', async request => {
      const log = request.log as unknown as Logger
      for (const [key, kind] of membersOf(pino(logbook())))
        assert.equal(typeof Reflect.get(log, key), kind, String(key))
      assert.deepEqual([log.isLevelEnabled('info'), log.isLevelEnabled('debug')], [true, false])
      assert.equal(log.bindings().reqId, request.id)
      log.setBindings({ team: 'blue' })
      log.level = 'debug'
      assert.equal(log.isLevelEnabled('debug'), true)
      log.debug('heard')
      await new Promise<void>((resolve, reject) => log.flush(error => (error ? reject(error) : resolve())))
      return {}
    })
    assert.equal((await app.inject('/asks')).statusCode, 200)
    const said = await book.line(({ msg }) => msg === 'heard')
    assert.equal(said.team, 'blue')
  })

test('a route with a log level of its own answers for that level', async t => {
  const { app } = await loggingServer(t, 'info')
  app.get('/quiet', { logLevel: 'error' }, async ({ log }) => (log as unknown as Logger).isLevelEnabled('info'))
  assert.equal((await app.inject('/quiet')).json(), false)
})

test('a route may have a log level of its own', async t => {
  const { app, book } = await loggingServer(t)
  app.get('/chatty', { logLevel: 'debug' }, async request => {
    request.log.debug('detail')
    return {}
  })
  await app.inject('/chatty')
  assert.ok(book.lines.some(({ msg }) => msg === 'detail'))
})

test("with the app's own logger a request is one line too", async t => {
  const { app, book } = await loggingServer(t)
  app.get('/apps/:app', async () => ({}))
  await app.inject('/apps/1?code=s3cret')
  await app.inject('/nowhere?code=s3cret')
  assert.deepEqual(
    book.lines.map(({ route }) => route),
    ['/apps/:app', '__unmatched__']
  )
  assert.doesNotMatch(JSON.stringify(book.lines), /s3cret/)
})

test('errors are logged with their type, code, stack and causes, without other data', () => {
  const book = logbook()
  const log = createLogger({ level: 'info', destination: book })
  const database = Object.assign(new Error('invalid input syntax for type uuid: "s3cret"'), {
    severity: 'ERROR',
    code: '22P02',
    detail: 'Key (email)=(s3cret) exists',
    query: 'select 1',
    parameters: ['s3cret'],
    args: ['s3cret']
  })
  const query = Object.assign(new Error('Failed query: select $1\nparams: s3cret', { cause: database }), {
    query: 'select $1',
    params: ['s3cret']
  })
  log.error({ err: new TypeError('it broke', { cause: query }) }, 'failed')
  const { err } = book.lines[0] as { err: Line & { cause: Line & { cause: Line } } }
  assert.equal(err.type, 'TypeError')
  assert.match(String(err.stack), /it broke\n\s+at /)
  assert.equal(err.cause.message, 'Failed query: select $1')
  assert.match(String(err.cause.stack), /\n\s+at /)
  assert.deepEqual(
    { code: err.cause.cause.code, message: err.cause.cause.message },
    { code: '22P02', message: 'invalid input syntax for type uuid' }
  )
  assert.doesNotMatch(JSON.stringify(book.lines), /s3cret/)
})

test('circular causes, aggregates and thrown non-errors are logged', () => {
  const book = logbook()
  const log = createLogger({ level: 'info', destination: book })
  const circle = new Error('round')
  circle.cause = circle
  log.error({ err: circle })
  log.error({ err: new AggregateError([new Error('one'), new Error('two')], 'both') })
  log.error({ err: { token: 's3cret' } })
  log.error({ err: 'text' })
  assert.equal(book.lines.length, 4)
  assert.deepEqual(
    (book.lines[1]!.err as { errors: Line[] }).errors.map(({ message }) => message),
    ['one', 'two']
  )
  assert.doesNotMatch(JSON.stringify(book.lines), /s3cret/)
})

test('requests, replies, headers, bodies and tokens are not logged even when asked for', async t => {
  const book = logbook()
  const log = createLogger({ level: 'info', destination: book })
  const app = Fastify()
  t.after(() => app.close())
  app.post('/in/:name', async (request, reply) => {
    const { body, headers, query } = request
    log.info({ req: request, res: reply, headers, body, query, token: 's3cret', password: 's3cret' }, 'all of it')
    return {}
  })
  await app.inject({
    method: 'POST',
    url: '/in/s3cret?q=s3cret',
    payload: { a: 's3cret' },
    headers: { cookie: 's3cret' }
  })
  assert.deepEqual(book.lines[0]!.req, { id: 'req-1', method: 'POST', route: '/in/:name' })
  assert.deepEqual(book.lines[0]!.res, { statusCode: 200 })
  assert.doesNotMatch(JSON.stringify(book.lines), /s3cret/)
})

test('a client cannot inject log lines', async t => {
  const { app, book } = await loggingServer(t)
  app.get('/says', async request => {
    request.log.info({ said: (request.query as { q: string }).q }, 'said')
    return {}
  })
  await app.inject('/says?q=%22%7D%0A%7B%22level%22%3A%22fatal%22%7D')
  assert.equal(book.lines.length, 2)
  assert.equal(book.lines[0]!.said, '"}\n{"level":"fatal"}')
})

test('what was logged before a crash or an exit is written, in order', async () => {
  for (const [end, status] of [
    ["throw new Error('crash')", 1],
    ['process.exit(3)', 3]
  ] as const) {
    const script = `
      import { createLogger } from '${moduleUrl('logger.ts')}'
      const log = createLogger({ level: 'info' })
      for (let i = 0; i < 20000; i++) log.info({ i }, 'x'.repeat(50))
      ${end}`
    const child = await run(process.execPath, ['--input-type=module', '--eval', script], { maxBuffer: 1 << 24 }).catch(
      error => error
    )
    assert.equal(child.code, status)
    const numbers = child.stdout
      .trimEnd()
      .split('\n')
      .map((line: string) => JSON.parse(line).i)
    assert.deepEqual(numbers, [...Array(20000).keys()])
  }
})

test('a stalled reader uses bounded memory, is told of the loss, and cannot delay the exit', async () => {
  const script = `
    import { openLogDestination } from '${moduleUrl('log-destination.ts')}'
    const place = openLogDestination({ maxBytes: 1 << 20, onRecovery: lost => place.write('lost ' + lost + '\\n') })
    const before = process.memoryUsage().rss
    for (let i = 0; i < 200; i++) {
      for (let j = 0; j < 500; j++) place.write('x'.repeat(300) + '\\n')
      await new Promise(setImmediate)
    }
    process.send(process.memoryUsage().rss - before)
    process.once('message', () => process.exit(0))`
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    stdio: ['ignore', 'pipe', 'inherit', 'ipc']
  })
  const [growth] = await once(child, 'message')
  assert.ok(growth < 20 << 20, `30 MB of lines, and the process grew by ${growth} bytes`)

  let read = ''
  child.stdout!.setEncoding('utf8').on('data', chunk => {
    read += chunk
    if (read.includes('lost ')) child.send('exit')
  })
  await once(child, 'exit')
  assert.match(read, /^(x{300}\n)+lost \d+\n/m)
})

test('a slow but active reader gets every line before the exit', async () => {
  const script = `
    import { openLogDestination } from '${moduleUrl('log-destination.ts')}'
    const place = openLogDestination()
    for (let i = 0; i < 10000; i++) place.write('x'.repeat(299) + '\\n')
    process.exit(3)`
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    stdio: ['ignore', 'pipe', 'inherit']
  })
  const exited = once(child, 'exit')
  let received = 0
  for await (const chunk of child.stdout!) {
    received += chunk.length
    await delay(40)
  }
  assert.equal(received, 3_000_000)
  assert.deepEqual(await exited, [3, null])
})

test('a process whose reader is gone or stuck exits all the same', async () => {
  const script = (lines: number) => `
    import { createLogger } from '${moduleUrl('logger.ts')}'
    const log = createLogger({ level: 'info' })
    process.once('message', () => {
      for (let i = 0; i < ${lines}; i++) log.info('x'.repeat(300))
      process.exit(3)
    })`
  for (const isGone of [true, false]) {
    const child = spawn(process.execPath, ['--input-type=module', '--eval', script(isGone ? 10 : 3000)], {
      stdio: ['ignore', 'pipe', 'inherit', 'ipc']
    })
    await once(child, 'spawn')
    if (isGone) child.stdout!.destroy()
    child.send('end')
    const [status] = await once(child, 'exit')
    assert.equal(status, 3)
    child.stdout!.destroy()
  }
})

test('an unknown level or option fails the boot', async t => {
  await assert.rejects(server(t, {}, { level: 'loud' }), /level/)
  await assert.rejects(server(t, {}, { colour: true }), /rhone-logging: unknown option "colour"/)
})

test('closing removes the process listener of its log', async () => {
  const before = process.listenerCount('exit')
  const app = Fastify()
  await app.register(logging, { level: 'silent' })
  await app.ready()
  await app.close()
  assert.equal(process.listenerCount('exit'), before)
})

test('secrets in the message of an error are replaced, in its stack too', () => {
  const lines: string[] = []
  const log = createLogger({ level: 'info', destination: { write: line => lines.push(line) } })
  const cause = new Error('fetch https://user:pl4nted@example.com failed')
  log.error({ err: new Error('password=pl4nted', { cause }) }, 'request failed')
  log.error({ err: new Error('Unexpected token < in JSON') }, 'request failed')
  assert.doesNotMatch(lines.join(), /pl4nted/)
  assert.match(lines[0]!, /"type":"Error".*"stack":"Error: password=\[redacted\]\\n/)
  assert.match(lines[1]!, /Unexpected token </)
})

test('the handwritten line equals the line of pino', () => {
  const entry = {
    reqId: 'a-"quoted"\\id',
    method: 'GET',
    route: '/things/:id(^\\d+$)"',
    status: 200,
    responseTime: 1.234,
    path: '/no"such',
    address: '2001:db8::1',
    userId: 'u\n1',
    userAgent: 'a "browser"',
    trace: { traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331', sampled: false },
    outcome: 'aborted'
  } as const
  const lines: Record<string, unknown>[] = []
  const log = createLogger({ level: 'info', destination: { write: line => lines.push(JSON.parse(line)) } })
  entryWriter(log)('info', entry)
  const { trace, outcome, ...facts } = entry
  log.info({ ...facts, ...trace, outcome }, 'request')
  entryWriter(log)('debug', entry)

  assert.equal(lines.length, 2, 'nothing below the level')
  const [byHand, byPino] = lines as [Record<string, unknown>, Record<string, unknown>]
  assert.deepEqual(Object.keys(byHand), Object.keys(byPino))
  assert.deepEqual({ ...byHand, time: null }, { ...byPino, time: null })
})
