import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startEmbeddedPostgres } from '../src/embedded-postgres/index.ts'
import type { Shot } from './load.ts'
import type { ServerCommand } from './process.ts'

/** What the contestants of one scenario share. */
export interface World {
  /** One database for Rhone and its baseline; null where the scenario needs none. */
  readonly databaseUrl: string
  readonly dataDir: string
  readonly facts: { token?: string; userId?: string; appId?: string; appIds?: string[]; pageLength?: number }
  close(): Promise<void>
}

export interface Contestant {
  readonly name: string
  server(world: World): ServerCommand
  /** Fills the database and collects ids. */
  afterStart?(url: string, world: World): Promise<void>
  shot(url: string, world: World): Shot
}

export interface Scenario {
  readonly name: string
  readonly what: string
  /** CPU time per request of Rhone relative to the first contestant's; null if there is no goal. */
  readonly goal: number | null
  readonly contestants: readonly Contestant[]
}

const script = (path: string) => join(import.meta.dirname, path)
/** The pressure plugin with a sensor that always reports pressure: it refuses all but operators and probes. */
const SHEDDING = `pressure=${script('servers/shedding.ts')}`
const UNLIMITED = '1000000/s:1000000'
/** No receiver takes the traces: what is recorded is dropped. */
const TRACING = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:9', OTEL_TRACES_SAMPLER_ARG: '0' }

const rhone = (
  path: (world: World) => string,
  options: { env?: Record<string, string>; apps?: number } & Omit<Shot, 'url'> = {}
): Contestant => ({
  name: 'rhone',
  server: ({ databaseUrl, dataDir }) => ({
    script: script('../src/server.ts'),
    env: {
      PORT: '0',
      DATABASE_URL: databaseUrl,
      DATA_DIR: dataDir,
      RATE_LIMIT_GENERAL: UNLIMITED,
      RATE_LIMIT_USER: UNLIMITED,
      ...options.env
    }
  }),
  async afterStart(url, { dataDir, facts }) {
    facts.pageLength = (await (await fetch(`${url}/docs`)).text()).length
    facts.token = (await readFile(join(dataDir, 'operator-token'), 'utf8')).trim()
    const me = await call(url, facts.token, 'GET', '/api/v1/me')
    facts.userId = me.id as string
    facts.appIds ??= []
    for (let index = facts.appIds.length; index < (options.apps ?? 1); index++)
      facts.appIds.push((await call(url, facts.token, 'POST', '/api/v1/apps', { name: `app ${index}` })).id as string)
    facts.appId = facts.appIds[0]!
  },
  shot: (url, world) => ({
    ...(options.method && { method: options.method }),
    ...(options.body && { body: options.body }),
    headers: { authorization: `Bearer ${world.facts.token}`, ...options.headers },
    url: url + path(world)
  })
})

const anonymous = (contestant: Contestant): Contestant => ({
  ...contestant,
  shot(url, world) {
    const { headers: _, ...shot } = contestant.shot(url, world)
    return shot
  }
})

/**
 * Requests all apps in turn: clients that change the same one would wait for each other, which is not what is measured.
 */
const inTurn = (pathOf: (appId: string) => string, contestant: Contestant): Contestant => ({
  ...contestant,
  shot: (url, world) => ({ ...contestant.shot(url, world), paths: (world.facts.appIds ?? []).map(pathOf) })
})

const bare = (path: (world: World) => string = () => '/api/v1/ping', shot: Omit<Shot, 'url'> = {}): Contestant => ({
  name: 'bare',
  server: ({ databaseUrl }) => ({ script: script('servers/bare.ts'), env: { DATABASE_URL: databaseUrl } }),
  shot: (url, world) => ({ ...shot, url: url + path(world) })
})

const stock: Contestant = {
  name: 'stock plugins',
  server: () => ({ script: script('servers/stock.ts') }),
  shot: url => ({ url: `${url}/api/v1/ping` })
}

const json = { 'content-type': 'application/json' }
const patch = { method: 'PATCH', body: '{"name":"renamed"}', headers: json }

export const scenarios: readonly Scenario[] = [
  {
    name: 'ping',
    what: 'GET /api/v1/ping, every concern on',
    goal: 1.33,
    contestants: [bare(), stock, anonymous(rhone(() => '/api/v1/ping'))]
  },
  {
    name: 'tracing',
    what: 'GET /api/v1/ping of a server that traces and records no request, against the same server without an endpoint',
    goal: 1.03,
    contestants: [
      { ...anonymous(rhone(() => '/api/v1/ping')), name: 'without an endpoint' },
      anonymous(rhone(() => '/api/v1/ping', { env: TRACING })),
      {
        ...anonymous(rhone(() => '/api/v1/ping', { env: { ...TRACING, OTEL_TRACES_SAMPLER_ARG: '0.1' } })),
        name: '10 %'
      },
      // The same server again: how far its ratio is from 1 is the error of the others.
      { ...anonymous(rhone(() => '/api/v1/ping')), name: 'without, again' }
    ]
  },
  {
    name: 'me',
    what: 'GET /api/v1/me with a bearer token, against a bare ping',
    goal: 1.6,
    contestants: [bare(), rhone(() => '/api/v1/me')]
  },
  {
    name: 'detail',
    what: 'GET /api/v1/apps/:app with a token, against the same query on bare Fastify',
    goal: 1.4,
    contestants: [
      bare(({ facts }) => `/users/${facts.userId}/apps/${facts.appId}`),
      rhone(({ facts }) => `/api/v1/apps/${facts.appId}`)
    ]
  },
  {
    name: 'list',
    what: 'GET /api/v1/apps, 50 of them, against the same query on bare Fastify',
    goal: 1.3,
    contestants: [bare(({ facts }) => `/users/${facts.userId}/apps`), rhone(() => '/api/v1/apps', { apps: 60 })]
  },
  {
    name: 'write',
    what: 'PATCH /api/v1/apps/:app with its audit row, 60 apps in turn, against the same two statements in a transaction',
    goal: 1.3,
    contestants: [
      inTurn(
        id => `/apps/${id}`,
        bare(({ facts }) => `/apps/${facts.appId}`, patch)
      ),
      inTurn(
        id => `/api/v1/apps/${id}`,
        rhone(({ facts }) => `/api/v1/apps/${facts.appId}`, { ...patch, apps: 60 })
      )
    ]
  },
  {
    name: '429',
    what: 'a client over its limit, against a bare ping',
    goal: 1,
    contestants: [bare(), anonymous(rhone(() => '/api/v1/ping', { env: { RATE_LIMIT_GENERAL: '1/m:1000' } }))]
  },
  {
    name: '503',
    what: 'a request that is shed, against a bare ping',
    goal: 1,
    contestants: [
      bare(),
      // Any setup request would be shed as well.
      { ...anonymous(rhone(() => '/api/v1/ping', { env: { RHONE_SWAP: SHEDDING } })), afterStart: async () => {} }
    ]
  },
  {
    name: 'objectives',
    what: 'GET /api/v1/ping, which counts against its objective, against the same without the plugin objectives',
    goal: 1.03,
    contestants: [
      { ...anonymous(rhone(() => '/api/v1/ping', { env: { RHONE_SWAP: 'objectives=off' } })), name: 'without' },
      anonymous(rhone(() => '/api/v1/ping'))
    ]
  },
  {
    name: 'html',
    what: 'GET /docs, a page with a nonce of its own, against a text of that length on bare Fastify',
    goal: null,
    contestants: [
      bare(({ facts }) => `/page/${facts.pageLength}`),
      anonymous(rhone(() => '/docs', { headers: { accept: 'text/html' } }))
    ]
  }
]

/** A database for one scenario, over an embedded PostgreSQL as durable as the one that ships. */
export async function prepare(_scenario: Scenario): Promise<World> {
  const dataDir = await mkdtemp(join(tmpdir(), 'rhone-bench-'))
  const log = { info() {}, warn: console.error, error: console.error }
  const postgres = await startEmbeddedPostgres({ dataDir: join(dataDir, 'postgres'), log })
  return {
    databaseUrl: postgres.url,
    dataDir,
    facts: {},
    async close() {
      await postgres.stop()
      await rm(dataDir, { recursive: true, force: true })
    }
  }
}

async function call(url: string, token: string, method: string, path: string, body?: object) {
  const reply = await fetch(url + path, {
    method,
    headers: { authorization: `Bearer ${token}`, ...(body && json) },
    ...(body && { body: JSON.stringify(body) })
  })
  if (!reply.ok) throw new Error(`${method} ${path} answered ${reply.status}: ${await reply.text()}`)
  return (await reply.json()) as Record<string, unknown>
}
