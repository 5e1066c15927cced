import { createServer } from 'node:net'
import { request } from '../../../../plugins/lib/http.ts'

/**
 * Checks an app's health: `path` must answer with a status below 400. Without one, `/health` must answer with a status
 * below 500; if that page does not exist, the front page decides.
 *
 * @param timeout in milliseconds, per request
 * @returns null when healthy, else the problem, phrased to follow the words "The app"
 */
export async function complaintAbout(
  { port, path }: { readonly port: number; readonly path?: string | undefined },
  timeout: number,
  signal: AbortSignal
): Promise<string | null> {
  if (path !== undefined) {
    const answer = await ask(port, path, timeout, signal)
    if (typeof answer === 'string') return answer
    return answer < 400 ? null : `answers GET ${path} with ${answer}`
  }
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
        error.code === 'ECONNREFUSED'
          ? `does not listen on the port in PORT (${port})`
          : 'closes connections without a reply'
      )
    })
    asked.once('close', () => clearTimeout(overtime))
    asked.end()
  })
}

/** Draws a free port on the loopback interface. */
export async function drawPort(isTaken: (port: number) => boolean): Promise<number> {
  for (;;) {
    const port = await tryPort(0)
    if (port !== null && !isTaken(port)) return port
  }
}

/** Binds a port and frees it again. @returns its number; null when it is in use */
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
