/**
 * `npm run bench -- plugins [--rounds=60]`: the cost of each plugin alone on bare Fastify, in nanoseconds of time and
 * bytes of memory per request, compared with the stock plugin of its kind.
 * Everything runs in one process without a network: requests and responses are Node's, over a socket that discards what
 * is written. The apps take turns, a few hundred requests each; figures are medians of the differences to bare Fastify
 * in the same round.
 */

import { IncomingMessage, ServerResponse } from 'node:http'
import { createRequire } from 'node:module'
import type { Socket } from 'node:net'
import { Writable } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import stockCors from '@fastify/cors'
import helmet from '@fastify/helmet'
import stockRateLimit from '@fastify/rate-limit'
import underPressure from '@fastify/under-pressure'
import { Registry } from '@platformatic/prom-client'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import clientIp from '../plugins/client-ip.ts'
import cors from '../plugins/cors.ts'
import drain from '../plugins/drain.ts'
import errors from '../plugins/errors/index.ts'
import logging from '../plugins/logging/index.ts'
import maintenance from '../plugins/maintenance/index.ts'
import metrics from '../plugins/metrics/index.ts'
import objectives from '../plugins/objectives.ts'
import pressure from '../plugins/pressure/index.ts'
import rateLimit from '../plugins/rate-limit/index.ts'
import requestId from '../plugins/request-id.ts'
import securityHeaders from '../plugins/security-headers.ts'
import startup from '../plugins/startup.ts'
import { keepResult } from './results.ts'

interface Contestant {
  readonly plugin: string
  readonly kind: 'bare' | 'rhone' | 'stock'
  readonly options?: FastifyServerOptions
  register?(app: FastifyInstance): unknown
}

const BATCH = 300
const ORIGIN = 'https://console.example'
const stockMetrics = createRequire(import.meta.url)('fastify-metrics').default
const discard = new Writable({ write: (_chunk, _encoding, done) => done() })

const contestants: readonly Contestant[] = [
  { plugin: 'bare Fastify', kind: 'bare' },
  { plugin: 'request-id', kind: 'rhone', register: app => app.register(requestId) },
  { plugin: 'client-ip', kind: 'rhone', register: app => app.register(clientIp) },
  { plugin: 'errors', kind: 'rhone', register: app => app.register(errors) },
  { plugin: 'logging', kind: 'rhone', register: app => app.register(logging, { destination: discard }) },
  { plugin: 'logging', kind: 'stock', options: { logger: { stream: discard } } },
  { plugin: 'metrics', kind: 'rhone', register: app => app.register(metrics) },
  { plugin: 'metrics', kind: 'stock', register: app => app.register(stockMetrics, { register: new Registry() }) },
  { plugin: 'objectives', kind: 'rhone', register: app => app.register(objectives) },
  { plugin: 'security-headers', kind: 'rhone', register: app => app.register(securityHeaders) },
  { plugin: 'security-headers', kind: 'stock', register: app => app.register(helmet) },
  { plugin: 'cors', kind: 'rhone', register: app => app.register(cors, { origins: [ORIGIN] }) },
  { plugin: 'cors', kind: 'stock', register: app => app.register(stockCors, { origin: [ORIGIN] }) },
  { plugin: 'drain', kind: 'rhone', register: app => app.register(drain) },
  { plugin: 'startup', kind: 'rhone', register: app => app.register(startup) },
  { plugin: 'maintenance', kind: 'rhone', register: app => app.register(maintenance) },
  { plugin: 'pressure', kind: 'rhone', register: app => app.register(pressure) },
  {
    plugin: 'pressure',
    kind: 'stock',
    register: app => app.register(underPressure, { maxEventLoopDelay: 1_000 })
  },
  {
    plugin: 'rate-limit',
    kind: 'rhone',
    register: app => app.register(rateLimit, { general: { ratePerSecond: 1e6, burst: 1e6 } })
  },
  {
    plugin: 'rate-limit',
    kind: 'stock',
    register: app => app.register(stockRateLimit, { max: 1e9, timeWindow: '1 minute' })
  }
]

interface Sample {
  readonly nanoseconds: number
  readonly bytes: number
}

const { values } = parseArgs({ allowPositionals: true, options: { rounds: { type: 'string', default: '60' } } })
const apps = await Promise.all(contestants.map(build))
const samples = contestants.map((): Sample[] => [])
for (let warmUp = 0; warmUp < 10; warmUp++) for (const app of apps) await batch(app)
for (let round = 0; round < Number(values.rounds); round++)
  for (const [index, app] of apps.entries()) samples[index]!.push(await batch(app))
await Promise.all(apps.map(app => app.close()))

const rows = [...new Set(contestants.map(({ plugin }) => plugin))].map(plugin => {
  const [ours, stock] = [costOf(plugin, 'rhone') ?? costOf(plugin, 'bare'), costOf(plugin, 'stock')]
  return {
    plugin,
    ns: ours!.nanoseconds,
    bytes: ours!.bytes,
    'stock ns': stock?.nanoseconds ?? '',
    'stock bytes': stock?.bytes ?? ''
  }
})
const what = 'What each plugin adds to a request of bare Fastify, in one process without a network; medians.'
console.log(`\n${what}`)
console.table(rows)
await keepResult('plugins', { what, rows })

async function build({ options, register }: Contestant): Promise<FastifyInstance> {
  const app = Fastify(options ?? {}) as unknown as FastifyInstance
  await register?.(app)
  const pong = { type: 'object', properties: { pong: { type: 'boolean' } }, required: ['pong'] }
  app.get('/ping', { schema: { response: { 200: pong } } }, () => ({ pong: true }))
  await app.ready()
  return app
}

/**
 * Sends requests one at a time, each in an event-loop turn of its own. A garbage collection in between invalidates the
 * memory figure, which is then left out.
 */
async function batch(app: FastifyInstance): Promise<Sample> {
  const heap = process.memoryUsage().heapUsed
  const began = performance.now()
  for (let count = 0; count < BATCH; count++) {
    await ask(app)
    await turn()
  }
  const nanoseconds = ((performance.now() - began) * 1e6) / BATCH
  return { nanoseconds, bytes: (process.memoryUsage().heapUsed - heap) / BATCH }
}

function ask(app: FastifyInstance): Promise<void> {
  const socket = Object.assign(new Writable({ write: (_chunk, _encoding, done) => done() }), {
    remoteAddress: '192.0.2.1'
  }) as unknown as Socket
  const request = new IncomingMessage(socket)
  Object.assign(request, { method: 'GET', url: '/ping', headers: { host: 'localhost' }, httpVersion: '1.1' })
  request.push(null)
  const response = new ServerResponse(request)
  response.assignSocket(socket)
  return new Promise(done => {
    response.on('finish', () => {
      if (response.statusCode !== 200) throw new Error(`a request was answered with ${response.statusCode}`)
      response.detachSocket(socket)
      response.emit('close')
      done()
    })
    app.routing(request, response)
  })
}

/** The cost added to bare Fastify; for bare Fastify, its total. */
function costOf(plugin: string, kind: Contestant['kind']): Sample | undefined {
  const at = contestants.findIndex(contestant => contestant.plugin === plugin && contestant.kind === kind)
  if (at < 0) return undefined
  const base = kind === 'bare' ? undefined : samples[0]
  const added = (figure: keyof Sample) =>
    median(samples[at]!.map((sample, round) => sample[figure] - (base?.[round]?.[figure] ?? 0)))
  const collected = ({ bytes }: Sample) => bytes <= 0
  const kept = samples[at]!.flatMap((sample, round) =>
    collected(sample) || (base !== undefined && collected(base[round]!))
      ? []
      : [sample.bytes - (base?.[round]?.bytes ?? 0)]
  )
  return { nanoseconds: Math.round(added('nanoseconds')), bytes: Math.round(median(kept)) }
}

function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
}
