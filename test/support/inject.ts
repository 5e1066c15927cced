import type { FastifyInstance, InjectOptions, LightMyRequestResponse } from 'fastify'

/** A request past the network. A stream of events has no end: its reader hangs up when it has begun. */
export async function inject(app: FastifyInstance, request: InjectOptions): Promise<LightMyRequestResponse> {
  const hangUp = new AbortController()
  const response = await app.inject({ ...request, signal: hangUp.signal, payloadAsStream: true })
  const isEndless = String(response.headers['content-type']).startsWith('text/event-stream')
  const stream = response.stream().on('error', () => {})
  const body = isEndless ? '' : Buffer.concat(await stream.toArray()).toString()
  if (isEndless) hangUp.abort()
  return Object.defineProperties(response, { body: { value: body }, json: { value: () => JSON.parse(body) } })
}
