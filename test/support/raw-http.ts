import { type AddressInfo, connect } from 'node:net'
import type { FastifyInstance } from 'fastify'

export interface RawReply {
  statusCode: number
  headers: Record<string, string>
  body: string
}

/** Starts an app on a free port of the loopback interface. */
export async function listen(app: FastifyInstance): Promise<number> {
  await app.listen({ host: '127.0.0.1', port: 0 })
  return (app.server.address() as AddressInfo).port
}

/** Writes raw bytes, and reads the replies until the server closes. */
export function exchange(port: number, bytes: string | Buffer, { end = false } = {}): Promise<RawReply[]> {
  const { promise, resolve, reject } = Promise.withResolvers<RawReply[]>()
  const received: Buffer[] = []
  const socket = connect(port, '127.0.0.1')
  socket.on('data', chunk => received.push(chunk))
  socket.on('error', reject)
  socket.on('close', () => resolve(parseReplies(Buffer.concat(received).toString())))
  if (end) socket.end(bytes)
  else socket.write(bytes)
  return promise
}

/** Splits a sequence of replies by their Content-Length. */
function parseReplies(text: string): RawReply[] {
  if (text === '') return []
  const headEnd = text.indexOf('\r\n\r\n')
  const [statusLine = '', ...lines] = text.slice(0, headEnd).split('\r\n')
  const headers = Object.fromEntries(lines.map(line => headerOf(line)))
  const bodyEnd = headEnd + 4 + Number(headers['content-length'] ?? 0)
  const reply = { statusCode: Number(statusLine.split(' ')[1]), headers, body: text.slice(headEnd + 4, bodyEnd) }
  return [reply, ...parseReplies(text.slice(bodyEnd))]
}

function headerOf(line: string): [string, string] {
  const colon = line.indexOf(':')
  return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()]
}
