import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { describe, it, type TestContext } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { Registry } from '@platformatic/prom-client'
import { Type } from '@sinclair/typebox'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import errorsPlugin, { type Failure } from '../../plugins/errors/index.ts'
import { AppError, ERROR_CODES, type ErrorCode, errors } from '../../plugins/lib/errors.ts'
import { exchange, listen } from '../support/raw-http.ts'
import { stays } from '../support/stays.ts'

interface LogLine {
  level: number
  msg: string
  code?: string
  route?: string
  reqId?: string
  err?: { message: string; stack: string }
}

interface Setup {
  plugin?: Parameters<typeof errorsPlugin>[1]
  server?: FastifyServerOptions
  http?: object
}

/** A bare Fastify with the plugin, wired the way the server wires it, and the lines that it logs. */
async function build(t: TestContext, { plugin = {}, server = {}, http = {} }: Setup = {}) {
  const lines: LogLine[] = []
  const app: FastifyInstance = Fastify({
    logger: { level: 'warn', stream: { write: (line: string) => lines.push(JSON.parse(line)) } },
    ajv: { customOptions: { removeAdditional: false, coerceTypes: false } },
    http: { requireHostHeader: false, ...http },
    frameworkErrors: (error, request, reply) => app.errors.onFrameworkError(error, request, reply),
    clientErrorHandler: (error, socket) => app.errors.onClientError(error, socket),
    ...server
  })
  t.after(() => app.close())
  await app.register(errorsPlugin, plugin)
  return { app, lines }
}

/** A route that fails with a given error. */
function failing(app: FastifyInstance, thrown: unknown): void {
  app.get('/fail', () => {
    throw thrown
  })
}

describe('the envelope', () => {
  const constructed: Record<ErrorCode, AppError> = {
    BAD_REQUEST: errors.badRequest('That is not a cursor'),
    VALIDATION_ERROR: errors.validation('name', 'is taken by a robot'),
    UNAUTHORIZED: errors.unauthorized(),
    PAYMENT_FAILED: errors.paymentFailed(),
    QUOTA_EXCEEDED: errors.quotaExceeded('Build'),
    FORBIDDEN: errors.forbidden(),
    NOT_FOUND: errors.notFound('App'),
    METHOD_NOT_ALLOWED: errors.methodNotAllowed(['GET']),
    CONFLICT: errors.conflict('That slug is taken'),
    PRECONDITION_FAILED: errors.preconditionFailed(),
    PAYLOAD_TOO_LARGE: new AppError('PAYLOAD_TOO_LARGE'),
    URI_TOO_LONG: new AppError('URI_TOO_LONG'),
    UNSUPPORTED_MEDIA_TYPE: new AppError('UNSUPPORTED_MEDIA_TYPE'),
    BUILD_FAILED: errors.buildFailed('No Dockerfile'),
    IDEMPOTENCY_MISMATCH: errors.idempotencyMismatch(),
    RATE_LIMIT: errors.rateLimit(7),
    INTERNAL_ERROR: errors.internal(new Error('secret')),
    NOT_CONFIGURED: errors.notConfigured('Stripe'),
    DEPLOY_FAILED: errors.deployFailed('No machine started'),
    SERVICE_UNAVAILABLE: errors.unavailable(2),
    MAINTENANCE: errors.maintenance(300)
  }

  for (const code of ERROR_CODES)
    it(`renders ${code}`, async t => {
      const { app } = await build(t)
      const error = constructed[code]
      failing(app, error)
      const reply = await app.inject('/fail')

      assert.equal(reply.statusCode, error.statusCode)
      assert.equal(reply.headers['content-type'], 'application/json; charset=utf-8')
      assert.equal(reply.headers['cache-control'], 'no-store')
      const { requestId, ...said } = reply.json().error
      assert.match(requestId, /^req-/)
      assert.deepEqual(said, {
        code,
        message: error.message,
        ...(error.detail !== undefined && { detail: error.detail })
      })
    })

  it('sets the headers that an error asks for', async t => {
    const { app } = await build(t)
    failing(app, new AppError('RATE_LIMIT', { headers: { 'retry-after': '7', 'x-extra': 'yes' } }))
    const { headers } = await app.inject('/fail')
    assert.equal(headers['retry-after'], '7')
    assert.equal(headers['x-extra'], 'yes')
  })

  it('drops headers of the handler about a body that is not sent', async t => {
    const { app } = await build(t)
    app.get('/fail', (_request, reply) => {
      reply.header('etag', '"1"').header('cache-control', 'public, max-age=60').header('content-encoding', 'gzip')
      throw errors.notFound('App')
    })
    const { headers } = await app.inject('/fail')
    assert.equal(headers.etag, undefined)
    assert.equal(headers['content-encoding'], undefined)
    assert.equal(headers['cache-control'], 'no-store')
  })
})

describe('a failure', () => {
  it('is hidden from the client, and reported once to the log, the sink and the counter', async t => {
    const registry = new Registry()
    const failures: Failure[] = []
    const { app, lines } = await build(t, { plugin: { registry, sinks: [failure => failures.push(failure)] } })
    const thrown = new Error('relation "secrets" does not exist')
    app.get('/apps/:app', () => {
      throw thrown
    })
    const reply = await app.inject('/apps/42')

    assert.equal(reply.statusCode, 500)
    assert.doesNotMatch(reply.body, /secrets|stack|at /)
    const requestId = reply.json().error.requestId
    assert.equal(lines.length, 1)
    const [line] = lines
    assert.equal(line?.code, 'INTERNAL_ERROR')
    assert.equal(line?.route, 'GET /apps/:app')
    assert.equal(line?.reqId, requestId)
    assert.match(line?.err?.stack ?? '', /relation "secrets".*errors\.test\.ts/s)
    assert.deepEqual(failures, [
      { code: 'INTERNAL_ERROR', route: 'GET /apps/:app', requestId, userId: undefined, trace: {}, error: thrown }
    ])
    assert.match(await registry.metrics(), /rhone_errors_total\{code="INTERNAL_ERROR"\} 1/)
  })

  for (const thrown of ['text', null, undefined, 42, { statusCode: 404 }])
    it(`may be ${JSON.stringify(thrown) ?? 'undefined'}, which is not even an error`, async t => {
      const { app } = await build(t)
      app.get('/fail', () => Promise.reject(thrown))
      const reply = await app.inject('/fail')
      assert.equal(reply.statusCode, 500)
      assert.equal(reply.json().error.code, 'INTERNAL_ERROR')
    })

  it('of another library does not expose the status of that library', async t => {
    const { app } = await build(t)
    failing(app, Object.assign(new Error('No such customer'), { statusCode: 404, code: 'resource_missing' }))
    const reply = await app.inject('/fail')
    assert.equal(reply.statusCode, 500)
    assert.doesNotMatch(reply.body, /customer/)
  })

  it('is logged, while refusals are only counted', async t => {
    const registry = new Registry()
    const { app, lines } = await build(t, { plugin: { registry, sinks: [() => assert.fail('told of a refusal')] } })
    failing(app, errors.unavailable(1))
    await app.inject('/fail')
    await app.inject('/nowhere')
    assert.deepEqual(lines, [])
    const metrics = await registry.metrics()
    assert.match(metrics, /rhone_errors_total\{code="SERVICE_UNAVAILABLE"\} 1/)
    assert.match(metrics, /rhone_errors_total\{code="NOT_FOUND"\} 1/)
  })

  it('is counted by the metrics of the app, which come later', async t => {
    const { app } = await build(t)
    const registry = new Registry()
    app.decorate('metrics', { registry, scrape: () => registry.metrics() })
    await app.inject('/nowhere')
    assert.match(await registry.metrics(), /rhone_errors_total\{code="NOT_FOUND"\} 1/)
  })

  it('is logged with the cause of a refusal', async t => {
    const { app, lines } = await build(t)
    failing(app, errors.unavailable(1, undefined, new Error('pool is full')))
    assert.equal((await app.inject('/fail')).statusCode, 503)
    assert.equal(lines[0]?.err?.message, 'pool is full')
  })

  it('of the sink is logged and does not affect the reply', async t => {
    const told: Failure[] = []
    const broken = () => {
      throw new Error('tracker is away')
    }
    const { app, lines } = await build(t, { plugin: { sinks: [broken, failure => told.push(failure)] } })
    failing(app, new Error('boom'))
    assert.equal((await app.inject('/fail')).statusCode, 500)
    assert.deepEqual(
      lines.map(({ msg }) => msg),
      ['request failed', 'error sink failed']
    )
    assert.equal(told.length, 1, 'the other sink heard of it')
  })

  it('of a header that cannot be sent costs that header, not the envelope', async t => {
    const { app, lines } = await build(t)
    app.get('/fail', (_request, reply) =>
      reply.header('x-good', 'yes').header('location', '/apps/caf\u00e9\u2615').send('ok')
    )
    const [reply] = await exchange(await listen(app), 'GET /fail HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
    assert.equal(reply?.statusCode, 500)
    assert.equal(JSON.parse(reply.body).error.code, 'INTERNAL_ERROR')
    assert.equal(reply.headers.location, undefined)
    assert.equal(reply.headers['x-good'], 'yes')
    assert.equal(lines.length, 1)
  })

  for (const [what, url] of [
    ['a good reply', '/ok'],
    ['a refusal', '/nowhere']
  ] as const)
    it(`of a hook that fails for ${what}, and again for the error, tells the client nothing`, async t => {
      const told: Failure[] = []
      const { app } = await build(t, { plugin: { sinks: [failure => told.push(failure)] } })
      const statuses: number[] = []
      const away = Object.assign(new Error('no store at 10.0.0.5'), { statusCode: 418, headers: { 'x-inside': '1' } })
      app.addHook('onRequest', (request, reply, next) => {
        reply.header('x-request-id', request.id)
        next()
      })
      app.addHook('onSend', (_request, _reply, _payload, next) => next(away))
      app.addHook('onResponse', (_request, reply, done) => {
        statuses.push(reply.statusCode)
        done()
      })
      app.get('/ok', () => 'ok')
      const reply = await app.inject(url)
      assert.equal(reply.statusCode, 500)
      assert.equal(reply.headers['content-type'], 'application/json; charset=utf-8')
      assert.equal(reply.headers['x-inside'], undefined)
      const { error } = reply.json()
      assert.deepEqual([error.code, error.message], ['INTERNAL_ERROR', 'An unexpected error occurred'])
      assert.equal(error.requestId, reply.headers['x-request-id'])
      assert.equal(told.at(-1)?.error, away)
      assert.deepEqual(statuses, [500])
    })

  it('is answered once, even if the handler sends more after it', async t => {
    const { app } = await build(t)
    app.get('/fail', async (_request, reply) => {
      reply.send(errors.forbidden())
      return 'late'
    })
    const reply = await app.inject('/fail')
    assert.equal(reply.statusCode, 403)
    assert.equal(reply.json().error.code, 'FORBIDDEN')
  })

  it('after the reply has begun ends the connection, not the server', async t => {
    const { app, lines } = await build(t)
    app.get('/ok', () => 'ok')
    app.get('/half', async (_request, reply) => {
      reply.raw.writeHead(200, { 'content-length': '100' })
      await new Promise(written => reply.raw.write('half', written))
      throw new Error('boom')
    })
    const port = await listen(app)
    const [half] = await exchange(port, 'GET /half HTTP/1.1\r\nHost: a\r\n\r\n')
    assert.equal(half?.body, 'half')
    assert.deepEqual(
      lines.map(({ msg }) => msg),
      ['request failed']
    )
    const [ok] = await exchange(port, 'GET /ok HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
    assert.equal(ok?.statusCode, 200)
  })
})

describe('bad input', () => {
  const Body = Type.Object(
    {
      name: Type.String({ minLength: 2 }),
      size: Type.Optional(Type.Union([Type.Literal('small'), Type.Literal('large')])),
      note: Type.Optional(Type.Union([Type.String({ maxLength: 3 }), Type.Null()])),
      count: Type.Optional(Type.Union([Type.Integer(), Type.Null()])),
      nested: Type.Optional(Type.Object({ ports: Type.Array(Type.Integer()) }))
    },
    { additionalProperties: false }
  )

  const cases: [name: string, body: unknown, detail: string, pointer: string][] = [
    ['a missing property', {}, 'name: is required', '#/name'],
    ['a wrong type', { name: 1 }, 'name: must be a string', '#/name'],
    ['an unknown property', { name: 'ab', color: 1 }, 'color: is unknown', '#/color'],
    ['an unknown property with slashes', { name: 'ab', 'a/~b': 1 }, 'a/~b: is unknown', '#/a~1~0b'],
    ['none of the choices', { name: 'ab', size: 'huge' }, 'size: must be one of small, large', '#/size'],
    ['a member of a union', { name: 'ab', note: 'long' }, 'note: must have at most 3 characters', '#/note'],
    ['no member of a union', { name: 'ab', count: 'x' }, 'count: must be a whole number or null', '#/count'],
    [
      'a nested value',
      { name: 'ab', nested: { ports: [1, 'x'] } },
      'nested.ports.1: must be a whole number',
      '#/nested/ports/1'
    ],
    ['something else entirely', [], 'body: must be an object', '#']
  ]
  for (const [name, payload, detail, pointer] of cases)
    it(`that is ${name} is named`, async t => {
      const { app } = await build(t)
      app.post('/apps', { schema: { body: Body } }, () => 'ok')
      const reply = await app.inject({ method: 'POST', url: '/apps', payload: payload as object })
      assert.equal(reply.statusCode, 400)
      assert.equal(reply.json().error.code, 'VALIDATION_ERROR')
      assert.equal(reply.json().error.detail, detail)

      const headers = { accept: 'application/problem+json' }
      const problem = await app.inject({ method: 'POST', url: '/apps', headers, payload: payload as object })
      assert.deepEqual(problem.json().errors, [{ in: 'body', pointer, detail: detail.slice(detail.indexOf(': ') + 2) }])
    })

  it('says which query parameter is wrong', async t => {
    const { app } = await build(t)
    app.get('/apps', { schema: { querystring: Type.Object({ limit: Type.Integer() }) } }, () => 'ok')
    assert.equal((await app.inject('/apps?limit=x')).json().error.detail, 'limit: must be a whole number')
  })

  it('gets all errors, each with its location, and one for a union', async t => {
    const { app } = await build(t, { server: { ajv: { customOptions: { allErrors: true, removeAdditional: false } } } })
    app.post('/apps', { schema: { body: Body } }, () => 'ok')
    const payload = { size: 'huge', note: 'long', count: 'x', color: 1 }
    const { detail } = (await app.inject({ method: 'POST', url: '/apps', payload })).json().error
    assert.deepEqual(detail.split('; ').toSorted(), [
      'color: is unknown',
      'count: must be a whole number or null',
      'name: is required',
      'note: must have at most 3 characters',
      'size: must be one of small, large'
    ])
  })

  it('gets ten errors, and the number of others', async t => {
    const { app } = await build(t, { server: { ajv: { customOptions: { allErrors: true, removeAdditional: false } } } })
    app.post('/apps', { schema: { body: Body } }, () => 'ok')
    const payload = { name: 'ab', ...Object.fromEntries(Array.from({ length: 15 }, (_, index) => [`x${index}`, 1])) }
    const { detail } = (await app.inject({ method: 'POST', url: '/apps', payload })).json().error
    assert.match(detail, /^x0: is unknown; .*x9: is unknown; and 5 more$/)
  })

  const Verbose = Type.Object(
    {
      slug: Type.String({ pattern: '^[a-z]+$', 'x-form': 'lower-case letters', examples: ['hello'] }),
      coded: Type.String({ pattern: '^(?<secret>[^x]{3})$', examples: ['abc'] }),
      size: Type.Integer({ minimum: 1, maximum: 9 }),
      at: Type.String({ format: 'date-time' }),
      tags: Type.Array(Type.String(), { minItems: 1, maxItems: 3, uniqueItems: true })
    },
    { additionalProperties: false }
  )
  const right = { slug: 'a', coded: 'abc', size: 1, at: '2026-01-31T12:00:00Z', tags: ['a'] }
  const explained: [wrong: object, detail: string][] = [
    [{ slug: 'A1' }, 'slug: must be lower-case letters, such as hello'],
    [{ slug: 1 }, 'slug: must be a string, such as hello'],
    [{ coded: 'xxx' }, 'coded: has the wrong format, such as abc'],
    [{ size: 10 }, 'size: must be a whole number from 1 to 9'],
    [{ size: 1.5 }, 'size: must be a whole number from 1 to 9'],
    [{ at: 'soon' }, 'at: must be a date and time with an offset, such as 2026-01-31T12:00:00Z'],
    [{ tags: [] }, 'tags: must not be empty'],
    [{ tags: ['a', 'b', 'c', 'd'] }, 'tags: must have 1 to 3 items'],
    [{ tags: ['a', 'a'] }, 'tags: must not contain an item twice'],
    [{ Slug: 'a' }, 'Slug: is unknown; did you mean "slug"?'],
    [{ sulg: 'a' }, 'sulg: is unknown; did you mean "slug"?'],
    [{ colour: 'red' }, 'colour: is unknown; known are slug, coded, size, at, tags']
  ]
  for (const [wrong, detail] of explained)
    it(`is explained where the validator is verbose: ${JSON.stringify(wrong)}`, async t => {
      const customOptions = { verbose: true, removeAdditional: false, coerceTypes: false, strictSchema: false } as const
      const { app } = await build(t, { server: { ajv: { customOptions } } })
      app.post('/apps', { schema: { body: Verbose } }, () => 'ok')
      const reply = await app.inject({ method: 'POST', url: '/apps', payload: { ...right, ...wrong } })
      assert.equal(reply.json().error.detail, detail)
    })

  it('never shows a pattern, from any validator', async t => {
    for (const verbose of [true, false]) {
      const customOptions = { verbose, removeAdditional: false, strictSchema: false }
      const { app } = await build(t, { server: { ajv: { customOptions } } })
      app.post('/apps', { schema: { body: Verbose } }, () => 'ok')
      const reply = await app.inject({ method: 'POST', url: '/apps', payload: { ...right, coded: 'xxx' } })
      assert.match(reply.json().error.detail, /^coded: has the wrong format/)
      assert.doesNotMatch(reply.body, /secret|\[\^|match/)
    }
  })

  it('is a 404, not a validation error, if a URL parameter is empty', async t => {
    const { app } = await build(t)
    app.get('/apps/:app', { schema: { params: Type.Object({ app: Type.String({ minLength: 1 }) }) } }, () => 'ok')
    const reply = await app.inject('/apps/')
    assert.equal(reply.statusCode, 404)
    assert.deepEqual([reply.json().error.code, reply.json().error.message], ['NOT_FOUND', 'Route not found'])
    assert.equal((await app.inject('/apps/x')).statusCode, 200)
  })

  it('is a body with a missing or unsupported type: the reply names the right one', async t => {
    const { app } = await build(t)
    app.post('/apps', () => 'ok')
    const post = async (headers: Record<string, string>) => {
      const reply = await app.inject({ method: 'POST', url: '/apps', headers, payload: '{"name":"x"}' })
      return [reply.statusCode, reply.json().error.detail]
    }
    assert.deepEqual(await post({}), [415, 'The request body has no Content-Type; send Content-Type: application/json'])
    assert.deepEqual(await post({ 'content-type': 'application/x-www-form-urlencoded' }), [
      415,
      'This Content-Type is not supported; send Content-Type: application/json'
    ])
  })

  it('does not repeat a name of any length', async t => {
    const { app } = await build(t)
    app.post('/apps', { schema: { body: Body } }, () => 'ok')
    const payload = { name: 'ab', ['x'.repeat(5000)]: 1 }
    assert.ok((await app.inject({ method: 'POST', url: '/apps', payload })).body.length < 400)
  })

  const bodies: [name: string, contentType: string, payload: string, statusCode: number, code: ErrorCode][] = [
    ['broken JSON', 'application/json', '{"a":', 400, 'BAD_REQUEST'],
    ['nothing where JSON is announced', 'application/json', '', 400, 'BAD_REQUEST'],
    ['a poisoned prototype', 'application/json', '{"__proto__":{"a":1}}', 400, 'BAD_REQUEST'],
    ['an unsupported type', 'application/xml', '<a/>', 415, 'UNSUPPORTED_MEDIA_TYPE'],
    ['an invalid content type', 'nonsense', 'a', 415, 'UNSUPPORTED_MEDIA_TYPE'],
    ['more than the limit', 'application/json', `"${'x'.repeat(2000)}"`, 413, 'PAYLOAD_TOO_LARGE']
  ]
  for (const [name, contentType, payload, statusCode, code] of bodies)
    it(`that is ${name} is ${statusCode}`, async t => {
      const { app, lines } = await build(t, { server: { bodyLimit: 1000 } })
      app.post('/apps', () => 'ok')
      const reply = await app.inject({
        method: 'POST',
        url: '/apps',
        headers: { 'content-type': contentType },
        payload
      })
      assert.equal(reply.statusCode, statusCode)
      assert.equal(reply.json().error.code, code)
      assert.deepEqual(lines, [])
    })

  for (const state of ['22021', '22P02', '22P05'])
    it(`that PostgreSQL cannot read is the client's fault: ${state}`, async t => {
      const { app } = await build(t)
      const driver = Object.assign(new Error('invalid byte sequence for encoding "UTF8": 0x00'), {
        severity: 'ERROR',
        code: state
      })
      failing(app, new Error('Failed query: select ...', { cause: driver }))
      const reply = await app.inject('/fail')
      assert.equal(reply.statusCode, 400)
      assert.doesNotMatch(reply.body, /byte|query/)
    })

  it('that PostgreSQL refuses for any other reason is ours', async t => {
    const { app } = await build(t)
    failing(app, Object.assign(new Error('deadlock detected'), { code: '40P01' }))
    assert.equal((await app.inject('/fail')).statusCode, 500)
  })

  it('that is incomplete is not our failure', async t => {
    const { app, lines } = await build(t)
    const failed = new Promise<void>(resolve =>
      app.addHook('onError', (_request, _reply, _error, done) => {
        resolve()
        done()
      })
    )
    const routed = new Promise<void>(resolve =>
      app.addHook('preParsing', (_request, _reply, payload, next) => {
        resolve()
        next(null, payload)
      })
    )
    app.post('/apps', () => 'ok')
    const socket = connect(await listen(app), '127.0.0.1')
    socket.write('POST /apps HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"a"')
    await routed
    socket.resetAndDestroy()
    await failed
    assert.deepEqual(lines, [])
  })
})

describe('the format', () => {
  it('is RFC 9457 for those who accept it', async t => {
    const { app } = await build(t)
    failing(app, errors.notFound('App'))
    const reply = await app.inject({ url: '/fail', headers: { accept: 'application/problem+json' } })
    assert.equal(reply.headers['content-type'], 'application/problem+json; charset=utf-8')
    const problem = reply.json()
    assert.deepEqual(problem, {
      type: '/docs#not-found',
      title: 'Not found',
      status: 404,
      detail: 'App not found',
      instance: problem.requestId,
      code: 'NOT_FOUND',
      requestId: problem.requestId
    })
  })

  it('uses the problem type base of the option', async t => {
    const { app } = await build(t, { plugin: { problemTypeBase: 'https://rhone.example/problems/' } })
    const reply = await app.inject({ url: '/x', headers: { accept: 'application/problem+json' } })
    assert.equal(reply.json().type, 'https://rhone.example/problems/not-found')
  })

  const choices: [accept: string | undefined, url: string, type: string][] = [
    [undefined, '/nowhere', 'application/json'],
    ['*/*', '/nowhere', 'application/json'],
    ['*/*', '/page', 'application/json'],
    ['text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8', '/nowhere', 'text/html'],
    ['text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8', '/page', 'text/html'],
    ['text/html,*/*;q=0.8', '/api', 'application/json'],
    ['text/html;q=0.5, application/json', '/page', 'application/json'],
    ['application/json, application/problem+json', '/api', 'application/problem+json'],
    ['application/json, application/problem+json;q=0.5', '/api', 'application/json'],
    ['application/problem+json;q=0', '/api', 'application/json'],
    [`application/problem+json${', */*'.repeat(400)}`, '/api', 'application/json'],
    [', ;;q=, text/html;q=x', '/page', 'application/json']
  ]
  for (const [accept, url, type] of choices)
    it(`of ${url} for "${accept?.slice(0, 70)}" is ${type}`, async t => {
      const { app } = await build(t)
      const fail = () => {
        throw errors.forbidden()
      }
      app.get('/api', fail)
      app.get('/page', { config: { page: true } }, fail)
      const reply = await app.inject({ url, headers: accept === undefined ? {} : { accept } })
      assert.equal(reply.headers['content-type'], `${type}; charset=utf-8`)
    })

  it('of an unsupported method is a page only if the URL is a page', async t => {
    const { app } = await build(t)
    app.get('/api', () => 'ok')
    app.get('/page', { config: { page: true } }, () => 'ok')
    for (const [url, type] of [
      ['/api', 'application/json'],
      ['/page', 'text/html']
    ] as const) {
      const reply = await app.inject({ method: 'POST', url, headers: { accept: 'text/html' } })
      assert.equal(reply.statusCode, 405)
      assert.equal(reply.headers['content-type'], `${type}; charset=utf-8`)
    }
  })

  it('escapes what a page shows', async t => {
    const { app } = await build(t)
    app.get('/page', { config: { page: true } }, () => {
      throw errors.badRequest('<script>alert("1")</script>')
    })
    const { body } = await app.inject({ url: '/page', headers: { accept: 'text/html' } })
    assert.doesNotMatch(body, /<script/)
    assert.match(body, /&lt;script&gt;alert\(&quot;1&quot;\)/)
    assert.match(body, /<meta charset="utf-8">/)
  })

  it('is the same with a response schema without errors', async t => {
    const { app } = await build(t)
    const schema = { response: { 200: Type.Object({}), '4xx': Type.Object({ other: Type.String() }) } }
    app.get('/fail', { schema }, () => {
      throw errors.forbidden()
    })
    assert.equal((await app.inject('/fail')).json().error.code, 'FORBIDDEN')
  })
})

describe('an unmatched request', () => {
  it('is 404, and its URL is not repeated', async t => {
    const { app } = await build(t)
    const reply = await app.inject('/<script>alert(1)</script>')
    assert.equal(reply.statusCode, 404)
    assert.equal(reply.json().error.message, 'Route not found')
    assert.doesNotMatch(reply.body, /script/)
  })

  it('is 405 with Allow when its URL has other methods', async t => {
    const { app } = await build(t)
    app.get('/apps/:app', () => 'ok')
    await app.register(
      async scope => {
        scope.delete('/:app', () => 'ok')
        scope.patch('/:app', () => 'ok')
      },
      { prefix: '/apps' }
    )
    for (const method of ['PUT', 'OPTIONS', 'TRACE'] as const) {
      const reply = await app.inject({ method, url: '/apps/42?x=1' } as never)
      assert.equal(reply.statusCode, 405, method)
      assert.equal(reply.headers.allow, 'DELETE, GET, HEAD, PATCH')
      assert.equal(reply.json().error.code, 'METHOD_NOT_ALLOWED')
    }
    assert.equal((await app.inject({ method: 'PUT', url: '/teams/42' })).statusCode, 404)
  })
})

describe('a request that reaches no route', () => {
  const NEVER: [name: string, bytes: string, statusCode: number, code: ErrorCode][] = [
    ['a bad escape in the URL', 'GET /%ff HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n', 400, 'BAD_REQUEST'],
    [
      'a parameter of 300 characters',
      `GET /apps/${'x'.repeat(300)} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`,
      414,
      'URI_TOO_LONG'
    ],
    ['a header of 100 kB', `GET / HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(100_000)}\r\n\r\n`, 431, 'BAD_REQUEST'],
    [
      'both Content-Length and Transfer-Encoding',
      'POST /apps HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      400,
      'BAD_REQUEST'
    ],
    ['TRACE', 'TRACE /nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n', 404, 'NOT_FOUND'],
    ['an unknown method', 'FOO / HTTP/1.1\r\nHost: a\r\n\r\n', 400, 'BAD_REQUEST'],
    ['an unknown version', 'GET / HTTP/9.9\r\nHost: a\r\n\r\n', 400, 'BAD_REQUEST'],
    ['a missing Host', 'GET /ok HTTP/1.1\r\nConnection: close\r\n\r\n', 400, 'BAD_REQUEST'],
    ['two Hosts', 'GET /ok HTTP/1.1\r\nHost: a\r\nhOST: b\r\nConnection: close\r\n\r\n', 400, 'BAD_REQUEST'],
    ['the same Host twice', 'GET /ok HTTP/1.1\r\nHost: a\r\nHost: a\r\nConnection: close\r\n\r\n', 400, 'BAD_REQUEST'],
    ['a Host that is a path', 'GET /ok HTTP/1.1\r\nHost: a/b\r\nConnection: close\r\n\r\n', 400, 'BAD_REQUEST'],
    ['a Host that is a list', 'GET /ok HTTP/1.1\r\nHost: a, b\r\nConnection: close\r\n\r\n', 400, 'BAD_REQUEST'],
    ['a Host with a user', 'GET /ok HTTP/1.1\r\nHost: a@b\r\nConnection: close\r\n\r\n', 400, 'BAD_REQUEST'],
    ['garbage', '\x16\x03\x01\x02garbage\r\n\r\n', 400, 'BAD_REQUEST'],
    ['HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400, 'BAD_REQUEST'],
    ['CONNECT', 'CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n', 405, 'METHOD_NOT_ALLOWED'],
    [
      'an expectation',
      'POST /apps HTTP/1.1\r\nHost: a\r\nExpect: cake\r\nContent-Length: 0\r\nConnection: close\r\n\r\n',
      417,
      'BAD_REQUEST'
    ],
    [
      'a malformed chunk',
      'POST /apps HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n',
      400,
      'BAD_REQUEST'
    ],
    [
      'a malformed chunk of a request that a hook still holds',
      'POST /held HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n',
      400,
      'BAD_REQUEST'
    ],
    ['headers that do not end', 'GET / HTTP/1.1\r\nHost: a\r\nX: ', 408, 'BAD_REQUEST'],
    [
      'a body that does not end',
      'POST /apps HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"a"',
      408,
      'BAD_REQUEST'
    ]
  ]

  /** Resolves some turns later, after everything that arrived together with the request was handled. */
  async function soon<T>(value: T): Promise<T> {
    for (let turns = 0; turns < 5; turns++) await turn()
    return value
  }

  /** @param patience how long requests may take to arrive, in milliseconds */
  async function served(t: TestContext, patience = 30_000) {
    const registry = new Registry()
    const { app, lines } = await build(t, {
      plugin: { registry },
      server: { requestTimeout: patience },
      http: { headersTimeout: patience, connectionsCheckingInterval: 50, maxHeaderSize: 16_384 }
    })
    const counted: number[] = []
    app.addHook('onRequest', (request, reply, done) => {
      reply.header('x-request-id', request.id).header('x-hooked', 'yes')
      done()
    })
    app.addHook('onResponse', (_request, reply, done) => {
      counted.push(reply.statusCode)
      done()
    })
    app.get('/ok', () => 'ok')
    app.get('/slow', () => soon('slow'))
    app.get('/apps/:app', () => 'ok')
    app.post('/apps', () => 'ok')
    app.post('/refused', { onRequest: async () => Promise.reject(errors.forbidden('no')) }, () => 'ok')
    app.post('/held', { onRequest: () => soon(undefined) }, () => 'ok')
    return { app, registry, lines, counted, port: await listen(app) }
  }

  for (const [name, bytes, statusCode, code] of NEVER)
    it(`is answered like everything else: ${name} is ${statusCode}`, async t => {
      const { port, counted, registry, lines } = await served(t, statusCode === 408 ? 300 : undefined)
      const replies = await exchange(port, bytes)

      assert.equal(replies.length, 1)
      const reply = replies[0]!
      assert.equal(reply.statusCode, statusCode)
      assert.equal(reply.headers['x-hooked'], 'yes')
      assert.equal(reply.headers['content-type'], 'application/json; charset=utf-8')
      const { error } = JSON.parse(reply.body)
      assert.equal(error.code, code)
      assert.equal(error.requestId, reply.headers['x-request-id'])
      assert.deepEqual(counted, [statusCode])
      assert.match(await registry.metrics(), new RegExp(`rhone_errors_total\\{code="${code}"\\} 1`))
      assert.deepEqual(lines, [])
    })

  it('is found in any request of a connection, after any Host before it', async t => {
    const { port } = await served(t)
    const asking = (host: string, end = '') => `GET /ok HTTP/1.1\r\nHost: ${host}\r\n${end}\r\n`
    const last = asking('a/b', 'Connection: close\r\n')
    const replies = await exchange(port, `${asking('a')}${asking('a')}${asking('b/c')}${asking('a')}${last}`)
    assert.deepEqual(
      replies.map(({ statusCode }) => statusCode),
      [200, 200, 400, 200, 400]
    )
  })

  it('is answered after the replies to earlier valid requests', async t => {
    const { port } = await served(t)
    const good = 'GET /slow HTTP/1.1\r\nHost: a\r\n\r\n'
    const replies = await exchange(port, `${good}${good}GARBAGE\r\n\r\n`)
    assert.deepEqual(
      replies.map(({ statusCode, body }) => [statusCode, statusCode === 200 ? body : '']),
      [
        [200, 'slow'],
        [200, 'slow'],
        [400, '']
      ]
    )
  })

  it('is not the rest of a request that was answered before it had arrived', async t => {
    const { counted, port } = await served(t, 500)
    const head = 'POST /refused HTTP/1.1\r\nHost: a\r\n'
    const length = 'Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{"a"'
    const chunked = 'Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{"a"\r\n'

    const hungUp = connect(port, '127.0.0.1').resume()
    hungUp.write(head + length)
    await once(hungUp, 'data')
    hungUp.end()
    await once(hungUp, 'close')

    const malformed = connect(port, '127.0.0.1').resume()
    malformed.on('error', () => {}).write(head + chunked)
    await once(malformed, 'data')
    malformed.write('ZZ\r\n')
    await once(malformed, 'close')

    assert.equal((await exchange(port, head + length)).length, 1) // until the server gives it up
    assert.deepEqual(counted, [403, 403, 403])
  })

  it('takes nothing from a reply that was complete when the rest turned out to be malformed', async t => {
    const { counted, port } = await served(t)
    for (const rest of ['Transfer-Encoding: xchunked\r\n\r\nab', 'Transfer-Encoding: chunked\r\n\r\nZZ\r\n']) {
      const [reply] = await exchange(port, `GET /ok HTTP/1.1\r\nHost: a\r\n${rest}`)
      assert.equal(reply?.body, 'ok')
    }
    assert.deepEqual(counted, [200, 200])
  })

  it('is not an offer to upgrade, which is passed over', async t => {
    const { port } = await served(t)
    const bytes = 'GET /ok HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n'
    assert.equal((await exchange(port, bytes, { end: true }))[0]?.body, 'ok')
  })

  it('is not counted if the client sent nothing', async t => {
    const { port, counted } = await served(t)
    assert.deepEqual(await exchange(port, '', { end: true }), [])
    assert.deepEqual(counted, [])
  })

  it('is not handled by a wildcard route', async t => {
    const { app } = await build(t)
    app.all('/*', () => assert.fail('reached a handler'))
    const [reply] = await exchange(await listen(app), 'BAD\r\n\r\n')
    assert.equal(reply?.statusCode, 400)
  })

  it('lets the client finish sending, so that it can read the reply', async t => {
    const { app, port } = await served(t)
    const connected = once(app.server, 'connection')
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    t.after(() => socket.destroy())
    const [serverSide] = await connected
    socket.resume().write('GARBAGE\r\n\r\n')
    await once(socket, 'end')

    socket.write('MORE GARBAGE\r\n\r\n')
    await stays(() => !serverSide.destroyed)
    socket.end()
    await once(serverSide, 'close')
  })

  it('does not prevent the server from closing', async t => {
    const { app, port } = await served(t)
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    socket.resume().write('GARBAGE\r\n\r\n')
    await once(socket, 'end')
    await app.close() // the client holds its half of the connection open for good
    socket.destroy()
  })
})

describe('the plugin', () => {
  it('refuses an unknown option', async t => {
    await assert.rejects(
      build(t, { plugin: { problemBase: '/' } as object }),
      /rhone-errors: unknown option "problemBase"; the options are problemTypeBase/
    )
  })

  it('accepts frozen options, and two apps of a process are independent', async t => {
    const options = Object.freeze({ problemTypeBase: '/a#' })
    const one = await build(t, { plugin: options })
    const two = await build(t)
    one.app.get('/only-here', () => 'ok')
    assert.equal((await one.app.inject({ method: 'POST', url: '/only-here' })).statusCode, 405)
    assert.equal((await two.app.inject({ method: 'POST', url: '/only-here' })).statusCode, 404)
  })
})

it('an outage is logged immediately and then once a second, with the number of failed requests', async t => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const { app, lines } = await build(t)
  app.get('/', async () => {
    throw errors.unavailable(1, 'The database cannot be reached', new Error('refused'))
  })
  const counts = () =>
    lines.filter(({ msg }) => msg === 'request failed').map(line => (line as { count?: number }).count)
  for (let at = 0; at < 50; at++) assert.equal((await app.inject('/')).statusCode, 503)
  assert.deepEqual(counts(), [1])
  t.mock.timers.tick(1_000)
  assert.deepEqual(counts(), [1, 49])
  t.mock.timers.tick(1_000)
  await app.inject('/')
  assert.deepEqual(counts(), [1, 49, 1])
})
