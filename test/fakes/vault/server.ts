import { createCipheriv, createDecipheriv, randomBytes, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/**
 * A fake of Vault or OpenBao: AppRole and Kubernetes logins, tokens with a lease that renewals extend up to a max_ttl
 * and no further, one KV v2 engine with check-and-set, a transit key, policies, and the seal. Replies have the form and
 * the status of the real ones.
 */
export interface FakeVault {
  readonly url: string
  /** Valid tokens, by login method. */
  readonly logins: { readonly kind: string; readonly at: number }[]
  readonly renewals: number[]
  readonly revoked: string[]
  /** Paths of all requests, in order. */
  readonly calls: string[]
  /** The KV engine at `secret/`: fields and version by path. */
  readonly stored: Map<string, { data: Record<string, unknown>; version: number }>
  put(path: string, data: Record<string, unknown>): void
  /** Lease time of new tokens and their max_ttl, in seconds. */
  lease: { ttl: number; maxTtl: number }
  isSealed: boolean
  /** Whether tokens may read, and write, `secret/data/*`. */
  policy: { read: boolean; write: boolean }
  /** The key `rhone` of the transit engine at `transit/`; its versions, the latest last. */
  readonly transit: Buffer[]
  approle: { roleId: string; secretId: string }
  kubernetes: { role: string; jwt: string }
  /** Ends all tokens, as an operator would. */
  revokeAll(): void
  close(): Promise<void>
}

interface WriteBody {
  readonly data?: Record<string, unknown>
  readonly options?: { readonly cas?: number }
}

interface Token {
  readonly createdAt: number
  readonly maxTtl: number
  readonly ttl: number
  endsAt: number
}

const now = () => performance.now() / 1_000

export async function fakeVault(): Promise<FakeVault> {
  const tokens = new Map<string, Token>()
  const server = createServer((request, response) => {
    handle(request, response).catch(error => reply(response, 500, { errors: [String(error)] }))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')

  const vault: FakeVault = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    logins: [],
    renewals: [],
    revoked: [],
    calls: [],
    stored: new Map(),
    put(path, data) {
      vault.stored.set(path, { data, version: (vault.stored.get(path)?.version ?? 0) + 1 })
    },
    lease: { ttl: 3_600, maxTtl: 14_400 },
    isSealed: false,
    policy: { read: true, write: true },
    transit: [randomBytes(32)],
    approle: { roleId: 'role', secretId: 'secret' },
    kubernetes: { role: 'rhone', jwt: 'service-account' },
    revokeAll: () => tokens.clear(),
    async close() {
      server.closeAllConnections()
      await new Promise(done => server.close(done))
    }
  }
  return vault

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = request.url!.replace(/^\/v1\//, '')
    const body = await bodyOf(request)
    vault.calls.push(`${request.method} ${path}`)
    if (vault.isSealed) return reply(response, 503, { errors: ['Vault is sealed'] })
    if (request.method === 'POST' && path === 'auth/approle/login') {
      const { roleId, secretId } = vault.approle
      if (body.role_id === roleId && body.secret_id === secretId) return logIn(response, 'approle')
      return reply(response, 400, { errors: ['invalid role or secret ID'] })
    }
    if (request.method === 'POST' && path === 'auth/kubernetes/login') {
      const { role, jwt } = vault.kubernetes
      if (body.role === role && body.jwt === jwt) return logIn(response, 'kubernetes')
      return reply(response, 403, { errors: ['permission denied'] })
    }

    const id = String(request.headers['x-vault-token'] ?? '')
    const token = tokens.get(id)
    if (token === undefined || now() >= token.endsAt) {
      tokens.delete(id)
      return reply(response, 403, { errors: ['permission denied', 'invalid token'] })
    }
    if (request.method === 'POST' && path === 'auth/token/renew-self') {
      // Never past max_ttl, counted from the login.
      token.endsAt = Math.min(now() + token.ttl, token.createdAt + token.maxTtl)
      vault.renewals.push(now())
      return reply(response, 200, { auth: leaseOf(id, token) })
    }
    if (request.method === 'POST' && path === 'auth/token/revoke-self') {
      tokens.delete(id)
      vault.revoked.push(id)
      return reply(response, 204)
    }
    const [, verb] = /^transit\/(encrypt|decrypt|rewrap)\/rhone$/.exec(path) ?? []
    if (request.method === 'POST' && verb !== undefined) return turn(response, verb, body)
    const [, name] = /^secret\/data\/(.+)$/.exec(path) ?? []
    if (name === undefined) return reply(response, 404, { errors: ['no handler for route'] })
    if (request.method === 'GET') return read(response, name)
    return write(response, name, body)
  }

  /** `vault:v1:<base64 of nonce, ciphertext and tag>`, as AES-256-GCM keys give it. */
  function turn(response: ServerResponse, verb: string, body: Record<string, unknown>): void {
    try {
      const plain = verb === 'encrypt' ? Buffer.from(String(body.plaintext), 'base64') : unseal(String(body.ciphertext))
      const data = verb === 'decrypt' ? { plaintext: plain.toString('base64') } : { ciphertext: sealOf(plain) }
      reply(response, 200, { data })
    } catch {
      reply(response, 400, { errors: ['invalid ciphertext: unable to decrypt'] })
    }
  }

  function sealOf(plain: Buffer): string {
    const nonce = randomBytes(12)
    const cipher = createCipheriv('aes-256-gcm', vault.transit.at(-1)!, nonce)
    const sealed = Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()])
    return `vault:v${vault.transit.length}:${sealed.toString('base64')}`
  }

  function unseal(text: string): Buffer {
    const [, version, content] = /^vault:v(\d+):(.+)$/.exec(text)!
    const sealed = Buffer.from(content!, 'base64')
    const decipher = createDecipheriv('aes-256-gcm', vault.transit[Number(version) - 1]!, sealed.subarray(0, 12))
    decipher.setAuthTag(sealed.subarray(-16))
    return Buffer.concat([decipher.update(sealed.subarray(12, -16)), decipher.final()])
  }

  function logIn(response: ServerResponse, kind: string): void {
    const id = `hvs.${randomUUID()}`
    const { ttl, maxTtl } = vault.lease
    const token = { createdAt: now(), ttl, maxTtl, endsAt: now() + Math.min(ttl, maxTtl) }
    tokens.set(id, token)
    vault.logins.push({ kind, at: now() })
    reply(response, 200, { auth: leaseOf(id, token) })
  }

  function leaseOf(id: string, { endsAt }: Token) {
    const left = Math.max(0, Math.round(endsAt - now()))
    return { client_token: id, lease_duration: left, renewable: true, policies: ['default', 'rhone'] }
  }

  function read(response: ServerResponse, name: string): void {
    if (!vault.policy.read)
      return void reply(response, 403, { errors: ['1 error occurred:\n\t* permission denied\n\n'] })
    const found = vault.stored.get(name)
    if (found === undefined) return void reply(response, 404, { errors: [] })
    const { data, version } = found
    reply(response, 200, { data: { data, metadata: { version, destroyed: false, deletion_time: '' } } })
  }

  function write(response: ServerResponse, name: string, body: WriteBody): void {
    if (!vault.policy.write)
      return void reply(response, 403, { errors: ['1 error occurred:\n\t* permission denied\n\n'] })
    const version = vault.stored.get(name)?.version ?? 0
    if (body.options?.cas !== undefined && body.options.cas !== version)
      return void reply(response, 400, { errors: ['check-and-set parameter did not match the current version'] })
    vault.put(name, body.data ?? {})
    reply(response, 200, { data: { version: version + 1 } })
  }
}

async function bodyOf(request: IncomingMessage): Promise<Record<string, unknown>> {
  let text = ''
  for await (const chunk of request) text += chunk
  return text === '' ? {} : JSON.parse(text)
}

function reply(response: ServerResponse, status: number, body?: object): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(body && JSON.stringify(body))
}
