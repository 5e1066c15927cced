import type { Server } from 'node:http'
import type { BlockList, Socket } from 'node:net'
import { Server as TlsServer } from 'node:tls'
import { type Static, Type } from '@sinclair/typebox'
import type { FastifyInstance, FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { isWithin, LOOPBACK, parseNetworks, peerOf } from '../lib/address.ts'
import { gauge } from '../lib/metrics.ts'
import { type HttpSocket, missingInternals, missingTlsInternals } from '../lib/node-http.ts'
import { type PluginInput, parseOptions } from '../lib/options.ts'
import type { Registry } from '../lib/registry.ts'
import type { ClientConnection } from './connection.ts'
import { ConnectionTable } from './connection-table.ts'
import { STATES, type State } from './http-socket.ts'
import { lingerAtClose } from './linger.ts'
import { boundPipelining } from './pipeline.ts'
import { countRefusals, type Reason } from './refusals.ts'

export const ConnectionsOptions = Type.Object(
  {
    max: Type.Integer({
      default: 10_000,
      minimum: 1,
      description:
        'Maximum number of connections. At the limit, an idle connection is closed for each new one; if ' +
        'none is idle, the new one is refused.'
    }),
    maxPerAddress: Type.Integer({
      default: 2_000,
      minimum: 1,
      description: 'The same per address, or per IPv6 /64.'
    }),
    exempt: Type.Array(Type.String(), {
      default: [...LOOPBACK],
      description: 'Networks without the limit per address: your proxies, and this machine.'
    }),
    pipelining: Type.Integer({
      default: 64,
      minimum: 0,
      description: 'Pipelined requests that may wait behind the one being served.'
    }),
    readTimeout: Type.Integer({
      default: 20_000,
      minimum: 1,
      description: 'Window in milliseconds for measuring a client’s read rate.'
    }),
    minReadRate: Type.Integer({
      default: 1_024,
      minimum: 1,
      description: 'Bytes per second that a client must read of a pending reply.'
    }),
    tailTimeout: Type.Integer({
      default: 5_000,
      minimum: 0,
      description: 'Milliseconds for the rest of an already answered request to arrive.'
    }),
    readSockets: Type.Boolean({
      default: true,
      description:
        "Reads undocumented state that Node's HTTP server keeps on sockets. If off, or if Node changes: " +
        'idle connections are not closed for new ones, and pipelined requests and late bodies are not limited.'
    }),
    sweepInterval: Type.Integer({
      default: 1_000,
      minimum: 10,
      description: 'Milliseconds between checks of all connections.'
    })
  },
  { additionalProperties: false }
)
export type ConnectionsOptions = Static<typeof ConnectionsOptions>

export interface ConnectionsDeps {
  registry?: Registry
  /** Lists the Node socket internals this plugin needs but cannot find. Default: probes a real socket. */
  inspect?: () => Promise<string[]>
}

/**
 * Bounds what clients can make the server hold: connections in total and per address, pipelined requests, unread
 * replies, and the rest of bodies that are no longer needed. The work happens once per connection or in a periodic
 * sweep, so requests carry no extra cost.
 *
 * Node itself bounds slow heads and bodies: see `headersTimeout` and `requestTimeout` of its HTTP servers.
 */
const connections: FastifyPluginAsync<PluginInput<typeof ConnectionsOptions, ConnectionsDeps>> = async (app, input) => {
  const options = parseOptions('rhone-connections', ConnectionsOptions, input, ['registry', 'inspect'])
  const exempt = networks(options.exempt)
  const server: Server = app.server
  const readsSockets = options.readSockets && (await areReadable(app, input.inspect))
  const table = new ConnectionTable()
  const refusals = countRefusals(input.registry)
  gaugeStates(input.registry, table)

  server.on('connection', (socket: Socket) => {
    if (admit(socket)) converse(socket)
  })
  server.on('secureConnection', converse)
  server.prependListener('clientError', closeSilent)

  const patience = {
    ...options,
    ...(!readsSockets && { tailTimeout: Infinity }),
    readBytes: (options.minReadRate * options.readTimeout) / 1000
  }
  const timer = setInterval(sweep, options.sweepInterval).unref()
  app.addHook('onClose', async () => clearInterval(timer))

  function admit(socket: Socket): boolean {
    const peer = peerOf(socket)
    const address = isWithin(exempt, peer) ? undefined : peer.bucket
    const refusal = refusalOf(address)
    if (refusal === undefined) table.add(socket, address)
    else {
      refusals.count(refusal)
      socket.destroy()
    }
    return refusal === undefined
  }

  /** The reason to refuse a new connection; undefined if there is room, possibly after evicting another one. */
  function refusalOf(address: string | undefined): Reason | undefined {
    if (address !== undefined) {
      const neighbours = table.of(address)
      if (neighbours.size >= options.maxPerAddress && !makeRoom(neighbours)) return 'address'
    }
    return table.size >= options.max && !makeRoom() ? 'full' : undefined
  }

  function makeRoom(among?: Set<ClientConnection>): boolean {
    const made = readsSockets && table.makeRoom(among)
    if (made) refusals.count('displaced')
    return made
  }

  function converse(socket: HttpSocket): void {
    if (!readsSockets) return
    const connection = table.find(socket)
    if (connection !== undefined) connection.http = socket
    lingerAtClose(socket)
    boundPipelining(server, socket, options.pipelining, () => refusals.count('pipelining'))
  }

  /** Closes connections that timed out without sending a byte (browser preconnects, floods). No reply is due. */
  function closeSilent(error: Error & { code?: string }, socket: Socket): void {
    if (error.code !== 'ERR_HTTP_REQUEST_TIMEOUT' || socket.bytesRead > 0) return
    refusals.count('silent')
    socket.destroy()
  }

  function sweep(): void {
    const now = performance.now()
    for (const connection of table) {
      const fault = connection.fault(now, patience)
      if (fault === undefined) continue
      refusals.count(fault)
      connection.reset()
    }
    refusals.report(app.log, now)
  }
}

/** Mistaking a busy connection for an idle one would be worse than enforcing fewer limits. */
async function areReadable(app: FastifyInstance, inspect = missingInternals): Promise<boolean> {
  const missing = [...(await inspect()), ...(app.server instanceof TlsServer ? missingTlsInternals() : [])]
  if (missing.length === 0) return true
  app.log.warn({ missing }, 'this Node version keeps socket state differently: connections are limited by number only')
  return false
}

function networks(entries: readonly string[]): BlockList {
  try {
    return parseNetworks(entries)
  } catch (error) {
    throw new Error(`rhone-connections: option "exempt": ${(error as Error).message}`, { cause: error })
  }
}

function gaugeStates(registry: Registry | undefined, table: ConnectionTable): void {
  const metric = gauge(registry, {
    name: 'rhone_connections',
    help: 'Open connections by state: new, busy with a request, or idle.',
    labelNames: ['state'],
    collect() {
      const counts: Record<State, number> = { new: 0, busy: 0, idle: 0 }
      for (const connection of table) counts[connection.state]++
      for (const state of STATES) metric.set({ state }, counts[state])
    }
  })
}

export default fp(connections, { name: 'rhone-connections', fastify: '5.x' })
