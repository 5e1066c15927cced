import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { type Call, callOf, ok, perform, type Reply, refusalOf } from './calls.ts'
import { control } from './control.ts'
import { type Fault, Faults, type Operation } from './faults.ts'
import { RateLimits } from './rate-limits.ts'
import { FlyRefusal, World } from './world.ts'

export interface FakeFlyOptions {
  /** Milliseconds of a simulated second; 1000 is as slow as the real API. */
  second?: number
  token?: string
  organization?: string
  /** Whether it has the rate limits of the real API. */
  limits?: boolean
  port?: number
}

export interface FakeFly {
  /** Base URL of the Machines API, GraphQL (under `/graphql`), logs and Prometheus. */
  readonly url: string
  readonly token: string
  /** Every valid token: an organization may have any number. */
  readonly tokens: Set<string>
  readonly organization: string
  readonly world: World
  readonly faults: Faults
  /** All received calls, in order. */
  readonly calls: { operation: Operation; method: string; path: string; authorization: string; body: unknown }[]
  /** The answer of Prometheus to a query; absent: none. */
  prometheus: (query: string) => { metric: Record<string, string>; value: [number, string] }[]
  close(): Promise<void>
}

/** A fake of Fly over HTTP: its machines run nothing but have a life cycle, and every call can be made to fail. */
export async function startFakeFly(options: FakeFlyOptions = {}): Promise<FakeFly> {
  const { second = 1_000, token = 'fm2_test-token', organization = 'rhone', port = 0 } = options
  const world = new World(second)
  const faults = new Faults()
  const limits = options.limits === true ? new RateLimits(second) : null
  const server = createServer((request, response) => {
    handle(request, response).catch(error => {
      if (!response.destroyed) send(response, { status: 500, body: { error: String(error) } })
    })
  })
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')

  const fly: FakeFly = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    token,
    tokens: new Set([token]),
    organization,
    world,
    faults,
    calls: [],
    prometheus: () => [],
    async close() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    }
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<unknown> {
    const { method = 'GET', headers } = request
    const url = new URL(request.url!, fly.url)
    const text = await bodyOf(request)
    if (url.pathname.startsWith('/_fake/')) return send(response, control(fly, method, url, text))
    const call = callOf(method, url, headers, text)
    if (call === null) return send(response, { status: 404, body: { error: 'not found' } })
    const { authorization = '' } = headers
    fly.calls.push({ operation: call.operation, method, path: request.url!, authorization, body: call.body })
    if (!fly.tokens.has(authorization.replace(/^(Bearer|FlyV1) /, '')))
      return send(response, { status: 401, body: { error: 'Authenticate: token validation error' } })
    const fault = faults.next(call.operation)
    if (fault !== null) return goWrong(fault, call, response)
    if (limits?.allows(call.operation, call.machine || call.app) === false) return limit(response, 1)
    return send(response, await answer(call, response))
  }

  async function goWrong(fault: Fault, call: Call, response: ServerResponse): Promise<unknown> {
    switch (fault.kind) {
      case 'fail': {
        const { status = 500, error = 'internal: server error' } = fault
        return send(response, { status, body: { error } })
      }
      case 'limit':
        return limit(response, fault.retryAfter ?? 1)
      case 'hangup':
        return response.destroy()
      case 'hang':
        return undefined
      case 'lose':
        await answer(call, response)
        return response.destroy()
      case 'forget':
        return send(
          response,
          world.forget(() => answerAtOnce(call))
        )
    }
  }

  async function answer(call: Call, response: ServerResponse): Promise<Reply> {
    return call.operation === 'machines.wait' ? wait(call, response) : answerAtOnce(call)
  }

  function answerAtOnce(call: Call): Reply {
    if (call.operation === 'machines.wait') return ok()
    if (call.operation !== 'prometheus') return perform(world, organization, call)
    const result = fly.prometheus(call.query.get('query') ?? String(call.body.query))
    return ok({ status: 'success', data: { resultType: 'vector', result } })
  }

  /** Answers when the machine reaches the awaited state, or the time is up. */
  async function wait({ app, machine: id, query }: Call, response: ServerResponse): Promise<Reply> {
    const wanted = query.get('state') ?? 'started'
    const timeout = Number.parseInt(query.get('timeout') ?? '60', 10)
    const version = query.get('instance_id') ?? query.get('version')
    try {
      if (!(timeout >= 1 && timeout <= 60)) throw new FlyRefusal(400, 'invalid_argument: timeout must be 1 to 60')
      if (!['started', 'stopped', 'suspended', 'destroyed'].includes(wanted))
        throw new FlyRefusal(400, `invalid_argument: unknown state ${wanted}`)
      if (wanted === 'stopped' && version === null)
        throw new FlyRefusal(400, 'invalid_argument: instance_id is required to wait for stopped')
      const end = Date.now() + timeout * second
      while (!response.destroyed && Date.now() < end) {
        if (world.stateOf(world.machine(app, id), version) === wanted) return ok()
        await delay(Math.max(1, second / 50))
      }
      throw new FlyRefusal(408, 'deadline_exceeded: machine did not reach the desired state')
    } catch (error) {
      return refusalOf(error)
    }
  }

  return fly
}

function limit(response: ServerResponse, retryAfter: number): unknown {
  const headers = { 'retry-after': String(retryAfter) }
  return send(response, { status: 429, body: { error: 'rate limit exceeded' } }, headers)
}

function send(response: ServerResponse, { status, body }: Reply, headers: Record<string, string> = {}): unknown {
  if (body === undefined) return response.writeHead(status, headers).end()
  const type = { 'content-type': 'application/json; charset=utf-8' }
  return response.writeHead(status, { ...type, ...headers }).end(JSON.stringify(body))
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString('utf8')
}
