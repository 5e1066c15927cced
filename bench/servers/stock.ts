/** What most people run: Fastify with its own hardening plugins at their defaults, and its own request log. */

import { createRequire } from 'node:module'
import cors from '@fastify/cors'
import helmet from '@fastify/helmet'
import rateLimit from '@fastify/rate-limit'
import underPressure from '@fastify/under-pressure'
import Fastify from 'fastify'
import { announce } from './announce.ts'

const metrics = createRequire(import.meta.url)('fastify-metrics').default

const app = Fastify({ logger: true })
await app.register(metrics, { endpoint: '/metrics' })
await app.register(helmet)
await app.register(cors)
await app.register(underPressure, { maxEventLoopDelay: 1000, maxEventLoopUtilization: 0.98 })
await app.register(rateLimit, { max: 1e9, timeWindow: '1 minute' })

const pong = { type: 'object', properties: { pong: { type: 'boolean' } }, required: ['pong'] }
app.get('/api/v1/ping', { schema: { response: { 200: pong } } }, () => ({ pong: true }))

await app.listen({ host: '127.0.0.1', port: 0 })
announce(app)
