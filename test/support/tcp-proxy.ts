import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { postgresTarget } from '../../plugins/lib/postgres.ts'

export interface TcpProxy {
  url: string
  /** Connections accepted so far. */
  readonly accepted: number
  /** Refuses new connections and closes existing ones, like a host whose server is down. */
  stop(): Promise<void>
  start(): Promise<void>
  /** Forwards nothing any more, like a network with an unplugged cable. */
  freeze(): void
  thaw(): void
  /** The handling of the next connections; by default they are forwarded. */
  handle: ((client: Socket, passOn: (as?: Duplex) => void) => void) | undefined
}

/** A TCP proxy for the PostgreSQL at `target`, which may be a Unix socket; it can be interrupted. */
export async function tcpProxy(
  scope: { after(release: () => Promise<void>): void },
  target: string
): Promise<TcpProxy> {
  const { host, port: upstreamPort, path, username, password, database } = postgresTarget(target)
  const sockets = new Set<Socket>()
  let accepted = 0
  let frozen = false

  const server = createServer(client => {
    accepted++
    track(client)
    const passOn = (as: Duplex = client) => {
      const onward = path === undefined ? connect(upstreamPort, host) : connect(path)
      track(onward)
      as.on('error', () => {})
      join(as, onward)
      join(onward, as)
    }
    if (proxy.handle === undefined) passOn()
    else proxy.handle(client, passOn)
  })

  function track(socket: Socket): void {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
    if (frozen) socket.pause()
  }

  function join(from: Duplex, to: Duplex): void {
    from.on('data', chunk => to.write(chunk))
    from.on('close', () => to.destroy())
    if (frozen) from.pause()
  }

  async function listen(port: number): Promise<number> {
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
    return (server.address() as AddressInfo).port
  }

  const port = await listen(0)

  const proxy: TcpProxy = {
    url: `postgres://${username}:${encodeURIComponent(password)}@127.0.0.1:${port}/${database}`,
    get accepted() {
      return accepted
    },
    async stop() {
      const closed = server.listening ? once(server, 'close') : undefined
      server.close()
      for (const socket of sockets) socket.destroy()
      await closed
    },
    async start() {
      await listen(port)
    },
    freeze() {
      frozen = true
      for (const socket of sockets) socket.pause()
    },
    thaw() {
      frozen = false
      for (const socket of sockets) socket.resume()
    },
    handle: undefined
  }
  scope.after(() => proxy.stop())
  return proxy
}

/** An error message of PostgreSQL about a statement or the connection. */
export function errorResponse(code: string, message: string): Buffer {
  const fields = Buffer.from(`SFATAL\0VFATAL\0C${code}\0M${message}\0\0`)
  const header = Buffer.alloc(5)
  header.write('E')
  header.writeUInt32BE(fields.length + 4, 1)
  return Buffer.concat([header, fields])
}
