import type { FastifyInstance, InjectOptions, LightMyRequestResponse } from 'fastify'

/** A request without a network. An event stream is endless, so its reader disconnects once it has started. */
export async function inject(app: FastifyInstance, request: InjectOptions): Promise<LightMyRequestResponse> {
  const hangUp = new AbortController()
  const response = await app.inject({ ...request, signal: hangUp.signal, payloadAsStream: true })
  const isEndless = String(response.headers['content-type']).startsWith('text/event-stream')
  const stream = response.stream().on('error', () => {})
  const body = isEndless ? '' : Buffer.concat(await stream.toArray()).toString()
  if (isEndless) hangUp.abort()
  return Object.defineProperties(response, { body: { value: body }, json: { value: () => JSON.parse(body) } })
}
