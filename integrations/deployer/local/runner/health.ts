import { request } from 'node:http'
import { createServer } from 'node:net'

/**
 * Asks an app whether it serves. Healthy is one whose `/health` answers with less than 500; one that has no such page, or
 * wants something of who asks for it, is as healthy as its front page.
 *
 * @param timeout in milliseconds, of each question
 * @returns null when it is healthy, else what it does instead, to follow the words "The app"
 */
export async function complaintAbout(port: number, timeout: number, signal: AbortSignal): Promise<string | null> {
  const answer = await ask(port, '/health', timeout, signal)
  const last = answer === 404 ? await ask(port, '/', timeout, signal) : answer
  if (typeof last === 'string') return last
  return last < 500 ? null : `answers GET ${answer === 404 ? '/' : '/health'} with ${last}`
}

function ask(port: number, path: string, timeout: number, signal: AbortSignal): Promise<number | string> {
  return new Promise(resolve => {
    const asked = request({
      host: '127.0.0.1',
      port,
      path,
      agent: false,
      signal,
      headers: { 'user-agent': 'rhone-health', accept: '*/*' }
    })
    const overtime = setTimeout(() => {
      resolve('takes too long to answer')
      asked.destroy()
    }, timeout)
    asked.once('response', response => {
      resolve(response.statusCode!)
      asked.destroy()
    })
    asked.on('error', (error: NodeJS.ErrnoException) => {
      resolve(
        error.code === 'ECONNREFUSED' ? `does not listen on the port in PORT (${port})` : 'breaks connections off'
      )
    })
    asked.once('close', () => clearTimeout(overtime))
    asked.end()
  })
}

/** A port of the loopback interface that nobody has at the moment. */
export async function drawPort(isTaken: (port: number) => boolean): Promise<number> {
  for (;;) {
    const port = await tryPort(0)
    if (port !== null && !isTaken(port)) return port
  }
}

/** The port that this one turns out to be, free again; null when somebody has it. */
export function tryPort(port: number): Promise<number | null> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', (error: NodeJS.ErrnoException) =>
      error.code === 'EADDRINUSE' ? resolve(null) : reject(error)
    )
    server.listen(port, '127.0.0.1', () => {
      const { port } = server.address() as { port: number }
      server.close(() => resolve(port))
    })
  })
}
