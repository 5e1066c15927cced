import assert from 'node:assert/strict'
import { test } from 'node:test'
import serializerFactory from '@fastify/fast-json-stringify-compiler'
import type { FastifyInstance, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import errorsPlugin from '../plugins/errors/index.ts'
import { buildApp } from '../src/app.ts'
import { validatorCompiler } from '../src/kernel/validation.ts'
import { testConfig } from './support/app.ts'

const SLO_CLASSES = ['health', 'list', 'detail', 'write', 'search', 'upstream', 'stream']
const RATE_CLASSES = ['general', 'auth', 'deploy', 'webhook', 'strict', false]
const ACCESS = ['public', 'metrics', 'authenticated', 'member', 'admin', 'owner', 'operator']
const OPEN_TO_ORIGINS = /^\/(api|\.well-known)\//
const UNSAFE = ['POST', 'PUT', 'PATCH', 'DELETE']

/** The sentences a route breaks; none for a route as it should be. */
function faults(route: RouteOptions): string[] {
  const { schema, config = {}, url } = route
  const method = String(route.method)
  const found: string[] = []
  const need = (holds: unknown, fault: string) => holds || found.push(fault)

  need(schema, 'has no schema')
  need(schema?.operationId, 'has no operationId')
  need(schema?.summary, 'has no summary')
  need(schema?.response && Object.keys(schema.response).some(status => /^2|^3/.test(status)), 'has no response schema')
  need(!/[:*]/.test(url) || schema?.params, 'has parameters in its URL and no schema for them')
  need(!['POST', 'PUT', 'PATCH'].includes(method) || schema?.body, 'takes a body and has no schema for it')
  for (const part of ['params', 'querystring', 'body'] as const) {
    const partSchema = schema?.[part] as { type?: string; additionalProperties?: unknown } | undefined
    if (partSchema?.type === 'object')
      need(partSchema.additionalProperties === false, `lets unknown keys into its ${part}`)
  }
  const answer = (schema?.response as Record<string, { properties?: object }> | undefined)?.['200']
  const query = (schema?.querystring as { properties?: object } | undefined)?.properties ?? {}
  need(
    !('nextCursor' in (answer?.properties ?? {})) || ('limit' in query && 'cursor' in query),
    'lists things and takes no limit and cursor'
  )
  need(ACCESS.includes(String(config.access)), 'has no access policy')
  need(RATE_CLASSES.includes(config.rateClass ?? 'general'), 'has an unknown rate class')
  need(SLO_CLASSES.includes(String(config.slo)), 'has no SLO class')
  need(
    OPEN_TO_ORIGINS.test(url) || config.cors === false,
    'is no part of the API, and open to scripts of other origins'
  )
  need(!UNSAFE.includes(method) || config.audit, 'changes something and is not audited')
  return found
}

/** Every string of a schema that has a pattern, by where it stands. */
function patternsIn(schema: unknown, place: string): [place: string, schema: Record<string, unknown>][] {
  if (typeof schema !== 'object' || schema === null) return []
  const own: [string, Record<string, unknown>][] = 'pattern' in schema ? [[place, schema as never]] : []
  return [...own, ...Object.entries(schema).flatMap(([key, value]) => patternsIn(value, `${place}.${key}`))]
}

async function routesOf(t: Parameters<typeof testConfig>[0]): Promise<RouteOptions[]> {
  const routes: RouteOptions[] = []
  const spied = fp(async (app: FastifyInstance, options: object) => {
    app.addHook('onRoute', route => {
      const isDescribed = (route.schema as { hide?: boolean } | undefined)?.hide !== true
      if (route.method !== 'HEAD' && isDescribed) routes.push(route)
    })
    await app.register(errorsPlugin, options)
  })
  const app = await buildApp(await testConfig(t, { DATABASE_URL: 'postgres://none:none@127.0.0.1:1/none' }), {
    errors: spied
  })
  t.after(() => app.close())
  return routes
}

test('every route declares its access, rate class, objective and schemas', async t => {
  const routes = await routesOf(t)
  assert.ok(routes.length > 25, `the walk found only ${routes.length} routes`)
  assert.deepEqual(
    routes.flatMap(route => faults(route).map(fault => `${route.method} ${route.url} ${fault}`)),
    []
  )
})

test('the schemas of every request can be compiled, although this happens on first use', async t => {
  const compile = validatorCompiler()
  for (const { schema, url, method } of await routesOf(t))
    for (const httpPart of ['params', 'querystring', 'headers', 'body'] as const) {
      const part = schema?.[httpPart]
      if (part) compile({ schema: part, url, method: String(method), httpPart })({})
    }
})

test('every pattern for requests has a description and a matching example', async t => {
  const wordless = (await routesOf(t)).flatMap(({ schema = {}, method, url }) =>
    (['params', 'querystring', 'headers', 'body'] as const)
      .flatMap(part => patternsIn(schema[part], `${method} ${url} ${part}`))
      .filter(([, { pattern, examples, 'x-form': form }]) => {
        const [example] = (examples ?? []) as unknown[]
        return (
          typeof form !== 'string' || typeof example !== 'string' || !new RegExp(String(pattern), 'u').test(example)
        )
      })
      .map(([place]) => place)
  )
  assert.deepEqual(wordless, [])
})

test('the schemas of every reply can be compiled, although this happens on first use', async t => {
  const compile = serializerFactory()()
  for (const { schema: described, url, method } of await routesOf(t))
    for (const [httpStatus, schema] of Object.entries(described?.response ?? {}))
      for (const part of schemasIn(schema)) compile({ schema: part, url, method: String(method), httpStatus })
})

/** A reply has a schema for each type of content, or one for all. */
function schemasIn({ content, ...schema }: { content?: Record<string, { schema: unknown }> }): unknown[] {
  return content === undefined ? [schema] : Object.values(content).map(({ schema }) => schema)
}

test('routes that wait for another service have their own objective class', async t => {
  const waiting = (await routesOf(t)).filter(({ config }) => config?.slo === 'upstream').map(({ url }) => url)
  assert.deepEqual(waiting.toSorted(), [
    '/api/v1/apps/:app/metrics',
    '/api/v1/teams/:team/repositories',
    '/auth/callback',
    '/github/callback'
  ])
})

test('operation ids are unique', async t => {
  const ids = (await routesOf(t)).map(route => route.schema?.operationId)
  assert.deepEqual(
    ids.filter((id, index) => ids.indexOf(id) !== index),
    []
  )
})

test('the guard catches a route without a policy', () => {
  const handler = async () => ({})
  const bare = faults({ method: 'POST', url: '/things/:id', handler })
  for (const fault of [
    'has no schema',
    'has no access policy',
    'has no SLO class',
    'changes something and is not audited'
  ])
    assert.ok(bare.includes(fault), fault)
  const open = faults({ method: 'GET', url: '/', handler, schema: { querystring: { type: 'object' } } })
  assert.ok(open.includes('lets unknown keys into its querystring'))
})

test('exactly the routes of sign-in, deployment and sensitive operations have their own limits', async t => {
  const routes = await routesOf(t)
  const ofClass = (rateClass: string) =>
    routes
      .filter(({ config }) => config?.rateClass === rateClass)
      .map(({ method, url }) => `${method} ${url}`)
      .sort()
  assert.deepEqual(ofClass('auth'), [
    'GET /auth/callback',
    'GET /auth/first',
    'GET /auth/github',
    'GET /auth/reset',
    'GET /login',
    'GET /login/device',
    'POST /api/v1/auth/device',
    'POST /api/v1/auth/device/token',
    'POST /api/v1/invitations/accept',
    'POST /auth/password',
    'POST /invitations/accept',
    'POST /login/device',
    'POST /logout'
  ])
  assert.deepEqual(ofClass('deploy'), [
    'POST /api/v1/apps/:app/deploy',
    'POST /api/v1/apps/:app/deploy/source',
    'POST /api/v1/apps/:app/deployments/:id/cancel',
    'POST /api/v1/apps/:app/rollback',
    'POST /apps/:app/deploy',
    'POST /apps/:app/deployments/:id/cancel',
    'POST /apps/:app/rollback'
  ])
  assert.deepEqual(ofClass('strict'), [
    'DELETE /api/v1/me',
    'GET /api/v1/me/export',
    'POST /admin/closing',
    'POST /admin/maintenance',
    'POST /api/v1/auth/token',
    'POST /api/v1/me/password',
    'POST /api/v1/me/restore',
    'POST /api/v1/me/tokens',
    'POST /api/v1/teams/:team/invitations',
    'POST /auth/reset',
    'POST /settings/delete',
    'POST /settings/password',
    'POST /settings/tokens/new',
    'POST /teams/:team/invitations',
    'POST /teams/:team/invitations/:id/again'
  ])
  assert.deepEqual(ofClass('webhook'), ['POST /webhooks/github'])
})
