/** The floor: Fastify with the same routes and schemas, and nothing else. */
import Fastify from 'fastify'
import postgres from 'postgres'
import { announce } from './announce.ts'
import { mount } from './bare-postgres.ts'

const app = Fastify()
const pong = { type: 'object', properties: { pong: { type: 'boolean' } }, required: ['pong'] }
app.get('/api/v1/ping', { schema: { response: { 200: pong } } }, () => ({ pong: true }))

const pages = new Map<string, string>()
app.get<{ Params: { length: string } }>('/page/:length', ({ params: { length } }, reply) => {
  const page = pages.get(length) ?? `<!doctype html>${'x'.repeat(Number(length) - 15)}`
  pages.set(length, page)
  return reply.type('text/html; charset=utf-8').send(page)
})

const url = process.env.DATABASE_URL
if (url !== undefined) mount(app, postgres(url, { max: 10, fetch_types: false }))

await app.listen({ host: '127.0.0.1', port: 0 })
announce(app)
