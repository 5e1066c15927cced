import { Agent, request } from 'node:http'
import { repeatedly } from './repeatedly.ts'

export interface AppReply {
  status: number
  text: string
}

/** Opens an app like a browser, which resolves every name below `localhost` to this machine. */
export function openApp(url: string, path = '/', agent?: Agent): Promise<AppReply> {
  const { hostname, port } = new URL(url)
  return new Promise((resolve, reject) => {
    const sent = request(
      { host: '127.0.0.1', port, path, headers: { host: `${hostname}:${port}` }, ...(agent && { agent }) },
      response => {
        let text = ''
        response.setEncoding('utf8')
        response.on('data', chunk => (text += chunk))
        response.on('end', () => resolve({ status: response.statusCode!, text: text.trim() }))
        response.on('error', reject)
      }
    )
    sent.on('error', reject).end()
  })
}

export interface Visitors {
  /** Statuses of the replies so far; for a failed request, the name of its error. */
  readonly seen: readonly string[]
  leave(): Promise<void>
}

/** Visitors who send requests repeatedly and record every answer. */
export function visitors(signal: AbortSignal, url: string, count = 4): Visitors {
  const agent = new Agent({ keepAlive: true, maxSockets: count })
  const seen: string[] = []
  const visit = async () => {
    const { status, text } = await openApp(url, '/', agent).catch(error => ({ status: 0, text: String(error) }))
    seen.push(status === 200 ? text : `${status} ${text}`)
  }
  const all = Array.from({ length: count }, () => repeatedly(signal, visit, 10))
  return {
    seen,
    async leave() {
      await Promise.all(all.map(visitor => visitor.stop()))
      agent.destroy()
    }
  }
}
