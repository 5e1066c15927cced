import { createHash } from 'node:crypto'
import type { FastifyDynamicSwaggerOptions } from '@fastify/swagger'
import { type Static, Type } from '@sinclair/typebox'
import type { FastifyContextConfig, FastifyPluginAsync, FastifySchema, RouteHandlerMethod, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import { type PluginInput, parseOptions } from '../lib/options.ts'
import { loadPackages } from '../lib/packages.ts'
import type { OpenApiDocument } from './document.ts'
import { docsPage } from './page.ts'
import { describeResponses } from './responses.ts'
import { docsStyle } from './style.ts'

export const OpenapiOptions = Type.Object(
  {
    title: Type.String({ default: 'Rhone', description: 'The name of the API.' }),
    version: Type.String({ default: '0.0.0', description: 'The version of the API.' }),
    description: Type.String({ default: '', description: 'What the API is for, in a sentence or two.' }),
    baseUrl: Type.Optional(Type.String({ description: 'Where the API is served, when that is known.' }))
  },
  { additionalProperties: false }
)
export type OpenapiOptions = Static<typeof OpenapiOptions>

const CALLERS: Readonly<Record<string, string>> = {
  public: 'Anyone may call this.',
  authenticated: 'Callers need a token.',
  member: 'Callers must be members of the team.',
  admin: 'Callers must be admins of the team.',
  owner: 'Callers must be owners of the team.',
  operator: 'Callers must be operators of this server.',
  metrics: 'Callers need the metrics token.'
}

/** What our own routes share: static, cheap, open to everyone. */
const OPEN = {
  access: 'public',
  rateClass: 'general',
  slo: 'detail',
  cors: false
} as const satisfies FastifyContextConfig

/** Describes the routes that are registered after it: as OpenAPI 3.1 for programs, as a page for people. */
const openapi: FastifyPluginAsync<PluginInput<typeof OpenapiOptions>> = async (app, input) => {
  const options = parseOptions('rhone-openapi', OpenapiOptions, input)
  const load = () => import('@fastify/swagger')
  const { default: swagger } = await loadPackages('rhone-openapi', ['@fastify/swagger'], load)
  await app.register(swagger, swaggerOptions(options))

  const json = asset('application/json; charset=utf-8')
  const page = asset('text/html; charset=utf-8')
  const style = asset('text/css; charset=utf-8')
  style.fill(() => docsStyle)

  app.addHook('onReady', done => {
    const document = app.swagger() as unknown as OpenApiDocument
    json.fill(() => JSON.stringify(document))
    page.fill(() => docsPage(document))
    done()
  })

  app.get(
    '/openapi.json',
    { config: OPEN, schema: describe('getOpenapi', 'This API as OpenAPI 3.1', 'application/json') },
    json.handler
  )
  app.get(
    '/docs',
    { config: { ...OPEN, page: true }, schema: describe('getDocs', 'This API as a page', 'text/html') },
    page.handler
  )
  app.get('/docs/style.css', { config: OPEN, schema: { hide: true } }, style.handler)
}

function describe(operationId: string, summary: string, contentType: string): FastifySchema {
  const content = { [contentType]: { schema: contentType === 'text/html' ? Type.String() : Type.Unknown() } }
  return { operationId, summary, tags: ['documentation'], response: { 200: { description: summary, content } } }
}

/** Bytes that are made when they are first asked for, and sent to each client only when they have changed. */
function asset(contentType: string): { fill(make: () => string): void; handler: RouteHandlerMethod } {
  let make = () => ''
  let made: { body: Buffer; etag: string } | undefined
  return {
    fill(newMake) {
      make = newMake
      made = undefined
    },
    handler: (request, reply) => {
      made ??= withTag(Buffer.from(make()))
      const { body, etag } = made
      reply.header('etag', etag).header('cache-control', 'public, no-cache')
      if (request.headers['if-none-match']?.includes(etag)) reply.code(304).send()
      else reply.type(contentType).send(body)
    }
  }
}

function withTag(body: Buffer): { body: Buffer; etag: string } {
  return { body, etag: `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"` }
}

function swaggerOptions({ title, version, description, baseUrl }: OpenapiOptions): FastifyDynamicSwaggerOptions {
  return {
    openapi: {
      openapi: '3.1.0',
      info: { title, version, description },
      ...(baseUrl !== undefined && { servers: [{ url: baseUrl }] }),
      components: {
        securitySchemes: {
          bearer: { type: 'http', scheme: 'bearer', description: 'An API token or a signed access token.' }
        }
      }
    },
    convertConstToEnum: false,
    stripBasePath: false,
    transform: ({ schema, url, route }) => ({ schema: operationOf(schema, route), url }),
    transformObject: documentObject => {
      const document = ('openapiObject' in documentObject ? documentObject.openapiObject : {}) as OpenApiDocument
      return describeResponses(document) as ReturnType<NonNullable<FastifyDynamicSwaggerOptions['transformObject']>>
    }
  }
}

/** A route's schema, and in words what its config says: who may call it, and which limit it counts against. */
function operationOf(schema: FastifySchema | undefined, route: RouteOptions): FastifySchema {
  const { access = 'authenticated', scope, rateClass = 'general' } = route.config ?? {}
  const facts = [
    schema?.description,
    CALLERS[access],
    scope !== undefined && access !== 'public' && `The token needs the scope \`${scope}\`.`,
    rateClass !== false && `Rate class \`${rateClass}\`.`
  ]
  return {
    ...schema,
    operationId: schema?.operationId ?? operationIdOf(route),
    tags: schema?.tags ?? ['other'],
    description: facts.filter(Boolean).join(' '),
    security: access === 'public' ? [] : [{ bearer: [] }]
  }
}

/** `GET /apps/:app` becomes `getAppsApp`. */
function operationIdOf({ method, url }: RouteOptions): string {
  const words = url.split(/[^A-Za-z0-9]+/).filter(Boolean)
  return String(method).toLowerCase() + words.map(word => word.charAt(0).toUpperCase() + word.slice(1)).join('')
}

export default fp(openapi, { name: 'rhone-openapi', fastify: '5.x' })
