import { type ServerPlace, send } from './client.ts'
import { defineCommand } from './command.ts'
import { locate } from './connect.ts'
import { table } from './format.ts'

interface Check {
  readonly name: string
  /** @returns a description of the problem; undefined if there is none */
  readonly run: (ask: Ask) => Promise<string | undefined>
}

interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly body: Readonly<Record<string, unknown>>
}
type Ask = (path: string, options?: { withToken: boolean }) => Promise<Answer>

const CHECKS: readonly Check[] = [
  { name: 'alive', run: async ask => unlessStatus(200, await ask('/health')) },
  { name: 'ready', run: async ask => unlessStatus(200, await ask('/ready')) },
  {
    name: 'answers',
    async run(ask) {
      const ping = await ask('/api/v1/ping')
      return unlessStatus(200, ping) ?? (ping.body.pong === true ? undefined : 'the reply is not {"pong":true}')
    }
  },
  {
    name: 'hardened',
    async run(ask) {
      const { headers } = await ask('/api/v1/ping')
      const needed = ['content-security-policy', 'x-content-type-options', 'ratelimit', 'x-request-id']
      const missing = needed.filter(name => !headers.has(name))
      return missing.length > 0 ? `headers are missing: ${missing.join(', ')}` : undefined
    }
  },
  {
    name: 'error format',
    async run(ask) {
      const unknown = await ask('/there-is-no-such-route')
      const { code, requestId } = (unknown.body.error ?? {}) as Record<string, unknown>
      if (unknown.status !== 404 || code !== 'NOT_FOUND') return `an unknown URL answers ${unknown.status} ${code}`
      return requestId === unknown.headers.get('x-request-id')
        ? undefined
        : 'body and header have different request ids'
    }
  },
  { name: 'closed without a token', run: async ask => unlessStatus(401, await ask('/api/v1/me')) },
  { name: 'open with a token', run: async ask => unlessStatus(200, await ask('/api/v1/me', { withToken: true })) }
]

export const smoke = defineCommand({
  name: 'smoke',
  summary: 'Check a running server from outside, for example after a deployment; exits with 1 if a check fails.',
  printsData: true,
  async run(input) {
    const place = await locate(input)
    const { url } = place
    const checks: { name: string; ok: boolean; problem: string | null }[] = []
    for (const { name, run } of CHECKS) {
      const problem = await run((path, options) => ask(place, path, options)).catch(String)
      checks.push({ name, ok: problem === undefined, problem: problem ?? null })
    }
    const ok = checks.every(check => check.ok)
    const rows = checks.map(check => [check.name, check.ok ? 'ok' : 'FAILED', check.problem ?? ''])
    return { data: { url, ok, checks }, text: table(['check', 'result', 'problem'], rows), failed: !ok }
  }
})

async function ask({ url, token }: ServerPlace, path: string, { withToken } = { withToken: false }): Promise<Answer> {
  const authorization = withToken ? { authorization: `Bearer ${await token()}` } : undefined
  const reply = await send(new URL(path, url), { headers: { accept: 'application/json', ...authorization } })
  const text = await reply.text()
  return { status: reply.status, headers: reply.headers, body: parseObject(text) }
}

function parseObject(text: string): Answer['body'] {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? { ...value } : {}
  } catch {
    return {}
  }
}

function unlessStatus(expected: number, { status, body }: Answer): string | undefined {
  if (status === expected) return undefined
  const { code } = (body.error ?? {}) as Record<string, unknown>
  return `answered ${status}${code === undefined ? '' : ` ${code}`}, expected ${expected}`
}
