import { Agent, request } from 'node:http'
import { repeatedly } from './repeatedly.ts'

export interface AppReply {
  status: number
  text: string
}

/** Opens an app as a browser does, which takes every name below `localhost` for this machine. */
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
  /** Of the replies so far; what failed altogether is the name of its error. */
  readonly seen: readonly string[]
  leave(): Promise<void>
}

/** Some visitors who ask again and again, and remember every answer. */
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
