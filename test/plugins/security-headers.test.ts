import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import Fastify, { type FastifyInstance } from 'fastify'
import errorsPlugin from '../../plugins/errors/index.ts'
import { errors } from '../../plugins/lib/errors.ts'
import { TextHeadResponse } from '../../plugins/lib/response-head.ts'
import securityHeaders from '../../plugins/security-headers.ts'
import { exchange, listen } from '../support/raw-http.ts'

const BLOCK = {
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'origin-agent-cluster': '?1',
  'permissions-policy': 'geolocation=(), microphone=(), camera=(), payment=(), usb=()',
  'referrer-policy': 'strict-origin-when-cross-origin',
  'x-content-type-options': 'nosniff',
  'x-dns-prefetch-control': 'off',
  'x-frame-options': 'DENY',
  'x-permitted-cross-domain-policies': 'none',
  'x-xss-protection': '0'
}

/** Other headers of a reply: the route's and Node's. */
const OTHERS = new Set(['allow', 'connection', 'content-length', 'content-type', 'date', 'keep-alive', 'location'])

function blockOf(headers: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !OTHERS.has(name)))
}

async function build(t: TestContext, options: Parameters<typeof securityHeaders>[1] = {}): Promise<FastifyInstance> {
  const app: FastifyInstance = Fastify({
    frameworkErrors: (error, request, reply) => app.errors.onFrameworkError(error, request, reply),
    clientErrorHandler: (error, socket) => app.errors.onClientError(error, socket)
  })
  t.after(() => app.close())
  await app.register(errorsPlugin)
  await app.register(securityHeaders, options)
  app.get('/', () => 'ok')
  return app
}

describe('the block', () => {
  it('is absent without the plugin', async t => {
    const app = Fastify().get('/', () => 'ok')
    t.after(() => app.close())
    assert.deepEqual(blockOf((await app.inject('/')).headers), {})
  })

  it('is the same on every status', async t => {
    const app = await build(t)
    app.get('/moved', (_request, reply) => reply.redirect('/', 303))
    app.get('/refused', () => {
      throw errors.forbidden()
    })
    app.get('/broken', () => {
      throw new Error('boom')
    })
    app.post('/body', () => 'ok')

    const statuses: [url: string, method: 'GET' | 'HEAD' | 'POST' | 'OPTIONS', statusCode: number][] = [
      ['/', 'GET', 200],
      ['/', 'HEAD', 200],
      ['/moved', 'GET', 303],
      ['/%ff', 'GET', 400],
      ['/refused', 'GET', 403],
      ['/nowhere', 'GET', 404],
      ['/', 'POST', 405],
      ['/', 'OPTIONS', 405],
      ['/broken', 'GET', 500]
    ]
    for (const [url, method, statusCode] of statuses) {
      const reply = await app.inject({ method, url })
      assert.equal(reply.statusCode, statusCode, `${method} ${url}`)
      assert.deepEqual(blockOf(reply.headers), BLOCK, `${method} ${url}`)
    }
    const [malformed] = await exchange(await listen(app), 'MALFORMED\r\n\r\n')
    assert.deepEqual(blockOf(malformed!.headers), BLOCK)
  })

  it('can be read from the app, but not changed', async t => {
    const app = await build(t)
    assert.deepEqual({ ...app.securityHeaders.api }, BLOCK)
    assert.ok(Object.isFrozen(app.securityHeaders.api))
  })

  it('is overridden by headers of a route', async t => {
    const app = await build(t)
    app.get('/asset', (_request, reply) => reply.header('cache-control', 'public, max-age=60').send('x'))
    assert.equal((await app.inject('/asset')).headers['cache-control'], 'public, max-age=60')
  })

  it('is omitted on a route that opts out', async t => {
    const app = await build(t)
    app.get('/bare', { config: { securityHeaders: false } }, () => 'ok')
    assert.deepEqual(blockOf((await app.inject('/bare')).headers), {})
  })

  it('mentions HTTPS only when configured', async t => {
    const secure = await build(t, { hsts: true })
    assert.equal((await secure.inject('/')).headers['strict-transport-security'], 'max-age=31536000; includeSubDomains')
    const preloaded = await build(t, { hsts: true, hstsPreload: true })
    assert.equal(
      (await preloaded.inject('/')).headers['strict-transport-security'],
      'max-age=31536000; includeSubDomains; preload'
    )
  })
})

describe('a page', () => {
  function policyOf(headers: Record<string, unknown>): Record<string, string> {
    const directives = String(headers['content-security-policy']).split('; ')
    return Object.fromEntries(
      directives.map(directive => [directive.split(' ')[0], directive.slice(directive.indexOf(' ') + 1)])
    )
  }

  it('runs only scripts that carry the nonce of this very reply', async t => {
    const app = await build(t)
    const { page } = app.securityHeaders
    app.get('/page', { config: { page: true } }, (_request, reply) => [page(reply), page(reply)])
    const [first, second] = [await app.inject('/page'), await app.inject('/page')]

    const [nonce, again] = first.json()
    assert.equal(nonce, again)
    assert.equal(Buffer.from(nonce, 'base64').length, 16)
    assert.notEqual(nonce, second.json()[0])
    assert.deepEqual(policyOf(first.headers), {
      'default-src': "'none'",
      'script-src': `'nonce-${nonce}'`,
      'style-src': `'self' 'nonce-${nonce}'`,
      'img-src': "'self' data:",
      'connect-src': "'self'",
      'font-src': "'self'",
      'worker-src': "'self'",
      'manifest-src': "'self'",
      'object-src': "'none'",
      'base-uri': "'none'",
      'form-action': "'self' https://github.com",
      'frame-ancestors': "'none'",
      'require-trusted-types-for': "'script'",
      'trusted-types': "'none'"
    })
    const { 'content-security-policy': _, ...rest } = blockOf(first.headers)
    const { 'content-security-policy': __, ...expected } = BLOCK
    assert.deepEqual(rest, expected)
  })

  it('allows images, form targets and markup only as configured', async t => {
    const app = await build(t, {
      imageSources: ['https://pictures.example'],
      formTargets: ['https://idp.example'],
      trustedTypes: ['mine']
    })
    app.get('/page', { config: { page: true } }, () => 'ok')
    const policy = policyOf((await app.inject('/page')).headers)
    assert.equal(policy['img-src'], "'self' data: https://pictures.example")
    assert.equal(policy['trusted-types'], 'mine')
    assert.equal(policy['form-action'], "'self' https://idp.example")
  })

  it('has the page policy at a shared URL only for clients that accept a page', async t => {
    const app = await build(t)
    app.get('/things', { config: { page: 'shared' } }, () => 'ok')
    const policyFor = async (accept: string) =>
      String((await app.inject({ url: '/things', headers: { accept } })).headers['content-security-policy'])
    assert.match(await policyFor('text/html'), /script-src 'nonce-/)
    assert.equal(await policyFor('application/json'), BLOCK['content-security-policy'])
  })

  it('can be an error page, whose style carries the nonce', async t => {
    const app = await build(t)
    const { headers, body } = await app.inject({ url: '/nowhere', headers: { accept: 'text/html' } })
    const nonce = /<style nonce="([^"]+)">/.exec(body)?.[1]
    assert.equal(policyOf(headers)['style-src'], `'self' 'nonce-${nonce}'`)
  })
})

describe('the plugin', () => {
  it('refuses nonsensical options', async t => {
    await assert.rejects(build(t, { hstsPreload: true }), /rhone-security-headers: 'hstsPreload' needs 'hsts'/)
    await assert.rejects(build(t, { hsts: 1 as never }), /rhone-security-headers: option "hsts"/)
    await assert.rejects(build(t, { csp: 'x' } as object), /rhone-security-headers: unknown option "csp"/)
  })

  it('accepts frozen options, and two apps of a process are independent', async t => {
    const secure = await build(t, Object.freeze({ hsts: true }))
    const plain = await build(t)
    assert.ok('strict-transport-security' in (await secure.inject('/')).headers)
    assert.ok(!('strict-transport-security' in (await plain.inject('/')).headers))
  })
})

it('with the header block, replies have the same headers as without it', async t => {
  const routes = async (app: FastifyInstance) => {
    app.get('/plain', async () => ({ plain: true }))
    app.get('/own', async (_request, reply) => reply.header('cache-control', 'public, max-age=60').send('own'))
    app.get('/page', { config: { page: true } }, async (_request, reply) => reply.type('text/html').send('<p>'))
    app.get('/off', { config: { securityHeaders: false } }, async () => 'off')
    app.get('/raw-list', (_request, reply) => {
      reply.hijack().raw.writeHead(200, ['X-Frame-Options', 'SAMEORIGIN']).end('raw')
    })
    app.get('/raw-object', (_request, reply) => {
      reply.hijack().raw.writeHead(200, { 'X-Frame-Options': 'SAMEORIGIN' }).end('raw')
    })
    app.get('/raw-set', (_request, reply) => {
      reply.hijack().raw.setHeader('X-Frame-Options', 'SAMEORIGIN').end('raw')
    })
  }
  const [stock, block] = await Promise.all(
    [{}, { http: { ServerResponse: TextHeadResponse } }].map(async options => {
      const app = Fastify(options)
      t.after(() => app.close())
      await app.register(securityHeaders)
      await app.register(routes)
      return app.listen({ host: '127.0.0.1', port: 0 })
    })
  )
  const headersOf = async (url: string) => {
    const { headers } = await fetch(url)
    const policy = headers.get('content-security-policy')?.replaceAll(/'nonce-[^']+'/g, "'nonce'")
    return { ...Object.fromEntries(headers), date: '', 'content-security-policy': policy }
  }
  for (const path of ['/plain', '/own', '/page', '/off', '/nowhere'])
    assert.deepEqual(await headersOf(block + path), await headersOf(stock + path), path)
  for (const path of ['/raw-list', '/raw-object', '/raw-set']) {
    const { headers } = await fetch(block + path)
    assert.equal(headers.get('x-frame-options'), 'SAMEORIGIN', `${path}: what a reply sets itself is not doubled`)
    assert.equal(headers.get('x-content-type-options'), 'nosniff')
  }
})
