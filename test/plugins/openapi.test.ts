import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { Validator } from '@seriousme/openapi-schema-validator'
import { Type } from '@sinclair/typebox'
import Fastify, { type FastifyInstance } from 'fastify'
import errorsPlugin from '../../plugins/errors/index.ts'
import { ERROR_CODES } from '../../plugins/lib/errors.ts'
import openapi from '../../plugins/openapi/index.ts'
import securityHeaders from '../../plugins/security-headers.ts'
import { errorResponses } from '../../schemas/error.ts'

const App = Type.Object({
  id: Type.String(),
  owner: Type.Object({ name: Type.String({ description: 'Who pays, as `text`.' }) }),
  regions: Type.Array(Type.Object({ code: Type.String({ minLength: 3, maxLength: 3 }) }))
})

async function build(t: TestContext, options: Parameters<typeof openapi>[1] = {}): Promise<FastifyInstance> {
  const app = Fastify()
  t.after(() => app.close())
  await app.register(errorsPlugin)
  await app.register(openapi, options)
  await app.register(securityHeaders)
  app.get(
    '/apps/:app',
    {
      config: { access: 'member', scope: 'read', rateClass: 'strict' },
      schema: {
        operationId: 'getApp',
        summary: 'One <app>',
        tags: ['Apps'],
        params: Type.Object({ app: Type.String({ description: 'Its UUID.' }) }),
        querystring: Type.Object({ limit: Type.Optional(Type.Integer({ default: 50, maximum: 200 })) }),
        response: { 200: App, 204: Type.Null(), ...errorResponses }
      }
    },
    () => ({})
  )
  app.post(
    '/apps',
    {
      config: { access: 'public', rateClass: false },
      schema: {
        tags: ['Apps'],
        body: Type.Object({
          name: Type.String(),
          size: Type.Optional(Type.Union([Type.Literal('s'), Type.Literal('l')]))
        })
      }
    },
    () => 'ok'
  )
  app.get('/hidden', { schema: { hide: true } }, () => 'ok')
  app.get('/bare', () => 'ok')
  return app
}

async function documentOf(app: FastifyInstance) {
  return (await app.inject('/openapi.json')).json()
}

describe('/openapi.json', () => {
  it('is valid OpenAPI 3.1 for an independent validator', async t => {
    const document = await documentOf(await build(t, { baseUrl: 'https://rhone.example' }))
    const { valid, errors } = await new Validator().validate(document)
    assert.equal(valid, true, JSON.stringify(errors))
    assert.equal(document.openapi, '3.1.0')
  })

  it('contains every visible route, and the name of the API', async t => {
    const document = await documentOf(
      await build(t, { title: 'Mine', version: '1.2.3', description: 'For tests.', baseUrl: 'https://rhone.example' })
    )
    assert.deepEqual(Object.keys(document.paths).sort(), ['/apps', '/apps/{app}', '/bare', '/docs', '/openapi.json'])
    assert.deepEqual(document.info, { title: 'Mine', version: '1.2.3', description: 'For tests.' })
    assert.deepEqual(document.servers, [{ url: 'https://rhone.example' }])
  })

  it('states the access and rate class of each route', async t => {
    const { paths, components } = await documentOf(await build(t))
    const { get } = paths['/apps/{app}']
    assert.equal(
      get.description,
      'Callers must be members of the team. The token needs the scope `read`. Rate class `strict`.'
    )
    assert.deepEqual(get.security, [{ bearer: [] }])
    assert.equal(components.securitySchemes.bearer.scheme, 'bearer')
    assert.equal(paths['/apps'].post.description, 'Anyone may call this.')
    assert.deepEqual(paths['/apps'].post.security, [])
  })

  it('has a unique id for every operation', async t => {
    const { paths } = await documentOf(await build(t))
    const ids = Object.values<object>(paths).flatMap(path => Object.values(path).map(({ operationId }) => operationId))
    assert.deepEqual(ids.toSorted(), ['getApp', 'getBare', 'getDocs', 'getOpenapi', 'postApps'])
  })

  it('describes errors once, in both formats', async t => {
    const { paths, components } = await documentOf(await build(t))
    for (const path of Object.values<Record<string, { responses: Record<string, object> }>>(paths))
      for (const { responses } of Object.values(path)) {
        assert.deepEqual(responses['500'], { $ref: '#/components/responses/InternalServerError' })
        assert.deepEqual(responses['503'], { $ref: '#/components/responses/ServiceUnavailable' })
      }
    assert.deepEqual(
      Object.keys(paths['/apps/{app}'].get.responses).filter(status => status >= '400'),
      ['400', '401', '403', '404', '429', '500', '503']
    )
    assert.match(components.responses.BadRequest.description, /`BAD_REQUEST`: .*`VALIDATION_ERROR`: /)
    const { content } = components.responses.NotFound
    assert.deepEqual(Object.keys(content), ['application/json', 'application/problem+json'])
    assert.equal(content['application/json'].example.error.code, 'NOT_FOUND')
    assert.deepEqual(components.schemas.Error.properties.error.properties.code.enum, ERROR_CODES)
    assert.equal(paths['/apps/{app}'].get.responses[200].description, 'OK')
    assert.equal(paths['/apps/{app}'].get.responses[204].description, 'No Content')
  })
})

describe('/docs', () => {
  it('shows every operation with its parameters, bodies and replies, escaped', async t => {
    const { body, headers } = await (await build(t)).inject('/docs')
    assert.equal(headers['content-type'], 'text/html; charset=utf-8')
    assert.match(body, /<article id="operation-getApp">/)
    assert.match(body, /One &lt;app&gt;/)
    assert.match(body, /<code>limit<\/code>.*integer.*in query, optional, at most 200, default 50/)
    assert.match(body, /<code>owner\.name<\/code>(?:.|\n){0,200}Who pays, as <code>text<\/code>/)
    assert.match(body, /<code>regions\[\]\.code<\/code>.*3 characters/)
    assert.match(body, /<code>size<\/code>.*&quot;s&quot; \| &quot;l&quot;/)
  })

  it('links from its contents to every section and operation, with valid HTML ids', async t => {
    const app = await build(t)
    app.get('/env', { schema: { tags: ['Env vars'] } }, () => 'ok')
    const { body } = await app.inject('/docs')
    const ids = [...body.matchAll(/ id="([^"]*)"/g)].map(([, id]) => id)
    assert.equal(new Set(ids).size, ids.length)
    for (const id of ids) assert.match(id!, /^[\w-]+$/)
    for (const [, anchor] of body.matchAll(/ href="#([^"]*)"/g)) assert.ok(ids.includes(anchor), anchor)
    assert.ok(ids.includes('tag-env-vars'))
  })

  it('has an entry for every problem type', async t => {
    const app = await build(t)
    const problem = (await app.inject({ url: '/nowhere', headers: { accept: 'application/problem+json' } })).json()
    const [url, anchor] = problem.type.split('#')
    const { body } = await app.inject(url)
    assert.match(body, new RegExp(`<tr id="${anchor}">`))
    for (const code of ERROR_CODES) assert.match(body, new RegExp(`<code>${code}</code>`))
  })

  it('has a search, a command for every operation, and explains how to get a token', async t => {
    const app = await build(t, {
      authentication: 'Ask `ada` for a token.\n\nKeep it.',
      baseUrl: 'https://rhone.example'
    })
    const { body } = await app.inject('/docs')
    assert.match(body, /<input type="search"/)
    assert.match(body, /<p>Ask <code>ada<\/code> for a token\.<\/p><p>Keep it\.<\/p>/)
    assert.match(body, /curl -X POST &quot;https:\/\/rhone\.example\/apps&quot; \\\n {2}-H &#39;Content-Type/)
    assert.match(body, /data-words="get \/apps\/\{app\} one &lt;app&gt; apps"/)
    const script = await app.inject('/docs/search.js')
    assert.equal(script.headers['content-type'], 'text/javascript; charset=utf-8')
  })

  it('names a model once, and keeps a second one of that name inline', async t => {
    const app = await build(t)
    const reply = (schema: object) => ({ schema: { response: { 200: schema } } })
    const Thing = Type.Object({ id: Type.String() }, { title: 'Thing' })
    app.get('/one', reply(Thing), () => ({}))
    app.get('/many', reply(Type.Array(Thing)), () => [])
    app.get('/other', reply(Type.Object({ no: Type.Integer() }, { title: 'Thing' })), () => ({}))
    const { paths, components } = await documentOf(app)
    const schemaOf = (path: string) => paths[path].get.responses[200].content['application/json'].schema
    assert.deepEqual(schemaOf('/one'), { $ref: '#/components/schemas/Thing' })
    assert.deepEqual(schemaOf('/many').items, { $ref: '#/components/schemas/Thing' })
    assert.deepEqual(Object.keys(schemaOf('/other').properties), ['no'])
    assert.deepEqual(Object.keys(components.schemas.Thing.properties), ['id'])
  })

  it('needs a script only for its search, nothing inline and no other host', async t => {
    const app = await build(t, { baseUrl: 'https://rhone.example' })
    const { body, headers } = await app.inject('/docs')
    assert.doesNotMatch(body, /<script>|<style|style=|onclick|(?:src|href)="https?:/)
    const nonce = /'nonce-([^']+)'/.exec(String(headers['content-security-policy']))?.[1]
    assert.deepEqual(body.match(/<script[^>]*>/g), [`<script nonce="${nonce}" src="/docs/search.js" defer>`])
    assert.match(String(headers['content-security-policy']), /style-src 'self' 'nonce-/)
    const style = /<link rel="stylesheet" href="([^"]+)">/.exec(body)?.[1]
    const reply = await app.inject(style as string)
    assert.equal(reply.headers['content-type'], 'text/css; charset=utf-8')
    assert.doesNotMatch(reply.body, /url\(|@import/)
  })
})

describe('each of them', () => {
  for (const url of ['/openapi.json', '/docs/style.css', '/docs/search.js'])
    it(`is sent only if it has changed: ${url}`, async t => {
      const app = await build(t)
      const first = await app.inject(url)
      const { etag } = first.headers
      assert.equal(first.headers['cache-control'], 'public, no-cache')
      assert.match(String(etag), /^"[\w-]{22}"$/)

      const second = await app.inject({ url, headers: { 'if-none-match': `"other", W/${etag}` } })
      assert.equal(second.statusCode, 304)
      assert.equal(second.body, '')
      assert.equal((await app.inject({ url, headers: { 'if-none-match': '"other"' } })).statusCode, 200)
    })

  it('is absent without the plugin', async t => {
    const app = Fastify()
    t.after(() => app.close())
    assert.equal((await app.inject('/openapi.json')).statusCode, 404)
  })
})

describe('the plugin', () => {
  it('refuses an unknown option', t =>
    assert.rejects(build(t, { name: 'x' } as object), /rhone-openapi: unknown option "name"/))

  it('accepts frozen options, and two apps of a process are independent', async t => {
    const one = await documentOf(await build(t, Object.freeze({ title: 'One' })))
    const two = await documentOf(await build(t))
    assert.equal(one.info.title, 'One')
    assert.equal(two.info.title, 'Rhone')
  })
})
