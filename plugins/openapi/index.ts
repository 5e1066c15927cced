import { createHash } from 'node:crypto'
import type { FastifyDynamicSwaggerOptions } from '@fastify/swagger'
import { type Static, Type } from '@sinclair/typebox'
import type {
  FastifyContextConfig,
  FastifyInstance,
  FastifyPluginAsync,
  FastifySchema,
  RouteHandlerMethod
} from 'fastify'
import fp from 'fastify-plugin'
import { pageNonce } from '../lib/notice-page.ts'
import { type PluginInput, parseOptions } from '../lib/options.ts'
import { loadPackages } from '../lib/packages.ts'
import { completeDocument } from './complete.ts'
import type { OpenApiDocument } from './document.ts'
import { operationOf } from './operation.ts'
import { docsPage } from './page.ts'
import { docsScript } from './script.ts'
import { docsStyle } from './style.ts'

export const OpenapiOptions = Type.Object(
  {
    title: Type.String({ default: 'Rhone', description: 'The name of the API.' }),
    version: Type.String({ default: '0.0.0', description: 'The version of the API.' }),
    description: Type.String({ default: '', description: 'What the API is for, in a sentence or two.' }),
    authentication: Type.String({
      default: 'Send a token as `Authorization: Bearer <token>`.',
      description: 'How callers get and send a token. Blank lines separate paragraphs; backticks mark code.'
    }),
    baseUrl: Type.Optional(Type.String({ description: 'The base URL of the API, if known.' }))
  },
  { additionalProperties: false }
)
export type OpenapiOptions = Static<typeof OpenapiOptions>

/** Shared config of this plugin's own routes: static, cheap and public. */
const OPEN = {
  access: 'public',
  rateClass: 'general',
  slo: 'detail',
  cors: false
} as const satisfies FastifyContextConfig

/** Documents the routes registered after it: as an OpenAPI 3.1 document and as an HTML page. */
const openapi: FastifyPluginAsync<PluginInput<typeof OpenapiOptions>> = async (app, input) => {
  const options = parseOptions('rhone-openapi', OpenapiOptions, input)
  const load = () => import('@fastify/swagger')
  const { default: swagger } = await loadPackages('rhone-openapi', ['@fastify/swagger'], load)
  const schemes: SecuritySchemes = {}
  await app.register(swagger, swaggerOptions(app, options, schemes))

  // Made on first use: most processes never show it, and making it takes an eighth of a start.
  const document = lazily(() => app.swagger() as unknown as OpenApiDocument)
  const page = lazily(() => docsPage(document(), options.authentication))
  const json = asset('application/json; charset=utf-8', () => JSON.stringify(document()))
  const style = asset('text/css; charset=utf-8', () => docsStyle)
  const script = asset('text/javascript; charset=utf-8', () => docsScript)

  app.addHook('onReady', done => {
    Object.assign(schemes, securitySchemes(app))
    done()
  })

  app.get(
    '/openapi.json',
    { config: OPEN, schema: describe('getOpenapi', 'Get the OpenAPI 3.1 description', 'application/json') },
    json
  )
  app.get(
    '/docs',
    { config: { ...OPEN, page: true }, schema: describe('getDocs', 'Get the API reference as a page', 'text/html') },
    // Browsers must not cache it: its nonce has to match the reply.
    async (_request, reply) => reply.type('text/html; charset=utf-8').send(page()(pageNonce(app, reply)))
  )
  app.get('/docs/style.css', { config: OPEN, schema: { hide: true } }, style)
  app.get('/docs/search.js', { config: OPEN, schema: { hide: true } }, script)
}

function describe(operationId: string, summary: string, contentType: string): FastifySchema {
  const content = { [contentType]: { schema: contentType === 'text/html' ? Type.String() : Type.Unknown() } }
  return { operationId, summary, tags: ['documentation'], response: { 200: { description: summary, content } } }
}

/** Creates the value on first use. */
function lazily<T>(make: () => T): () => T {
  let made: { value: T } | undefined
  return () => {
    made ??= { value: make() }
    return made.value
  }
}

/** Serves content that is created on first request, with an ETag so that clients only download it when it has changed. */
function asset(contentType: string, make: () => string): RouteHandlerMethod {
  const made = lazily(() => withTag(Buffer.from(make())))
  return (request, reply) => {
    const { body, etag } = made()
    reply.header('etag', etag).header('cache-control', 'public, no-cache')
    if (request.headers['if-none-match']?.includes(etag)) reply.code(304).send()
    else reply.type(contentType).send(body)
  }
}

function withTag(body: Buffer): { body: Buffer; etag: string } {
  return { body, etag: `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"` }
}

function swaggerOptions(
  app: FastifyInstance,
  options: OpenapiOptions,
  schemes: SecuritySchemes
): FastifyDynamicSwaggerOptions {
  const { title, version, description, baseUrl } = options
  return {
    openapi: {
      openapi: '3.1.0',
      info: { title, version, description },
      ...(baseUrl !== undefined && { servers: [{ url: baseUrl }] }),
      components: { securitySchemes: schemes }
    },
    convertConstToEnum: false,
    stripBasePath: false,
    transform: ({ schema, url, route }) => ({ schema: operationOf(schema, route, app.hasDecorator('session')), url }),
    transformObject: generated => {
      const document = ('openapiObject' in generated ? generated.openapiObject : {}) as OpenApiDocument
      return completeDocument(document) as ReturnType<NonNullable<FastifyDynamicSwaggerOptions['transformObject']>>
    }
  }
}

type SecuritySchemes = Record<string, { type: 'http'; scheme: string; description: string } | SessionCookie>
interface SessionCookie {
  type: 'apiKey'
  in: 'cookie'
  name: string
  description: string
}

/** The security schemes of the plugins registered by the time the document is created. */
function securitySchemes(app: FastifyInstance): SecuritySchemes {
  const bearer = (description: string) => ({ type: 'http' as const, scheme: 'bearer', description })
  return {
    bearer: bearer('An API token or a signed access token.'),
    ...(app.hasDecorator('metrics') && { metrics: bearer('The token for metrics scrapers.') }),
    ...(app.hasDecorator('session') && {
      session: {
        type: 'apiKey',
        in: 'cookie',
        name: app.session.cookie,
        description:
          'The session cookie of a browser. Requests that change something must come from the pages of this server.'
      }
    })
  }
}

export default fp(openapi, { name: 'rhone-openapi', fastify: '5.x' })
