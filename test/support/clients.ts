import { Agent, type RequestOptions, request } from 'node:http'

export interface Outcome {
  readonly statuses: number[]
  /** Requests lost on a connection that had served others. A new one may still be refused or, from the backlog, reset. */
  readonly cutOff: string[]
}

/** Sends sequential requests over keep-alive connections until the server accepts no new ones. */
export async function keepAsking(port: number, outcomes: Outcome[], path = '/api/v1/ping'): Promise<void> {
  const clients = outcomes.map(async outcome => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    for (;;) {
      const answer = await new Promise<number | { code: string | undefined; reused: boolean }>(done => {
        const sent = request({ port, path, agent }, reply => {
          reply.resume().on('end', () => done(reply.statusCode!))
        })
        sent.on('error', (error: NodeJS.ErrnoException) => done({ code: error.code, reused: sent.reusedSocket })).end()
      })
      if (typeof answer === 'number') outcome.statuses.push(answer)
      else {
        agent.destroy()
        if (answer.reused) outcome.cutOff.push(String(answer.code))
        return
      }
    }
  })
  await Promise.all(clients)
}

export interface Answer {
  readonly status: number
  readonly body: string
  /** Distinguishes the answering apps by the prefix of their request ids. */
  readonly app: string
}

/** A client with one connection, and therefore one app, until `reconnect` is called. */
export class Client {
  readonly #port: number
  readonly #options: RequestOptions
  #agent = new Agent({ keepAlive: true, maxSockets: 1 })

  constructor(port: number, options: RequestOptions = {}) {
    this.#port = port
    this.#options = options
  }

  async get(path: string, headers: Record<string, string> = {}): Promise<Answer> {
    const options = { port: this.#port, host: '127.0.0.1', path, headers, agent: this.#agent, ...this.#options }
    return new Promise((resolve, reject) => {
      const sent = request(options, async reply => {
        const body = Buffer.concat(await reply.toArray()).toString()
        const [app = ''] = String(reply.headers['x-request-id']).split('-')
        resolve({ status: reply.statusCode!, body, app })
      })
      sent.on('error', reject).end()
    })
  }

  hangUp(): void {
    this.#agent.destroy()
    this.#agent = new Agent({ keepAlive: true, maxSockets: 1 })
  }
}
