import { Type } from '@sinclair/typebox'
import { createRemote, RemoteError } from '../../../plugins/lib/remote.ts'
import { type Secret, type SecretSource, SourceError } from './port.ts'
import type { VaultPlace } from './spec.ts'
import { VaultSession } from './vault-session.ts'

const Stored = Type.Object({
  data: Type.Object({
    data: Type.Union([Type.Record(Type.String(), Type.Unknown()), Type.Null()]),
    metadata: Type.Object({ version: Type.Integer() })
  })
})

const Opened = Type.Object({ data: Type.Object({ plaintext: Type.String() }) })
const Wrapped = Type.Object({ data: Type.Object({ ciphertext: Type.String() }) })

/** The form of a value sealed by a transit engine. */
const SEALED_VALUE = /^vault:v\d+:/
/** Stored sealed if there is a transit key: the KV engine, or a copy of it, is then not enough to read them. */
const KEYRINGS = new Set(['SESSION_KEYS', 'ENCRYPTION_KEYS', 'SIGNING_KEYS'])

const FORBIDDEN = 403
const SEALED = 503
/** Another client has written in the meantime. */
const CONFLICT = 400
const WRITES = 3

/** HashiCorp Vault or OpenBao: all secrets are the fields of one secret in a KV v2 engine. */
export function vaultSource({ origin, mount, path, namespace, login, transit }: VaultPlace): SecretSource {
  const name = `vault:${origin}/${mount}/${path}`
  const remote = createRemote({
    service: 'vault',
    baseUrl: `${origin}/v1`,
    headers: { 'x-vault-request': 'true', ...(namespace && { 'x-vault-namespace': namespace }) },
    timeout: 5_000,
    deadline: 15_000,
    maxBytes: 1_000_000
  })
  const session = new VaultSession(remote, login)

  async function read(): Promise<{ fields: Record<string, unknown>; version: number }> {
    const { body } = await authorized(token =>
      remote.call({
        operation: 'read_secret',
        path: `/${mount}/data/${path}`,
        headers: { 'x-vault-token': token },
        schema: Stored
      })
    )
    return { fields: body.data.data ?? {}, version: body.data.metadata.version }
  }

  async function write(fields: object, version: number): Promise<boolean> {
    const { status } = await authorized(token =>
      remote.call({
        operation: 'write_secret',
        method: 'POST',
        path: `/${mount}/data/${path}`,
        headers: { 'x-vault-token': token },
        body: { data: fields, options: { cas: version } },
        accept: [CONFLICT]
      })
    )
    return status !== CONFLICT
  }

  async function opened(variable: string, value: string): Promise<string> {
    if (!SEALED_VALUE.test(value)) return value
    if (transit === undefined)
      throw new SourceError(
        `${variable} is encrypted with a transit key, but SECRETS_SOURCE names none (?transit=mount/key)`
      )
    const { body } = await authorized(token =>
      remote.call({
        operation: 'open_secret',
        method: 'POST',
        path: `/${transit.mount}/decrypt/${transit.key}`,
        headers: { 'x-vault-token': token },
        // Opening it twice changes nothing.
        idempotent: true,
        body: { ciphertext: value },
        schema: Opened
      })
    )
    return Buffer.from(body.data.plaintext, 'base64').toString()
  }

  async function wrapped(value: string): Promise<string> {
    const { body } = await authorized(token =>
      remote.call({
        operation: 'seal_secret',
        method: 'POST',
        path: `/${transit!.mount}/encrypt/${transit!.key}`,
        headers: { 'x-vault-token': token },
        idempotent: true,
        body: { plaintext: Buffer.from(value).toString('base64') },
        schema: Wrapped
      })
    )
    return body.data.ciphertext
  }

  /** A token may have been revoked, so a refusal is believed only for a fresh one. */
  async function authorized<T>(call: (token: string) => Promise<T>): Promise<T> {
    const token = await session.token()
    try {
      return await call(token)
    } catch (error) {
      if (!(error instanceof RemoteError) || error.status !== FORBIDDEN) throw error
      session.forget(token)
      return call(await session.token())
    }
  }

  /** @throws SourceError in place of anything that `work` throws */
  async function explained<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      const allowed = [`${mount}/data/${path}`, ...(transit ? [`${transit.mount}/decrypt/${transit.key}`] : [])]
      throw new SourceError(`${name}: ${reasonOf(error, allowed.join(' or '))}`)
    }
  }

  return {
    name,
    load: names =>
      explained(async () => {
        const { fields, version } = await read()
        const found = new Map<string, Secret>()
        for (const variable of names) {
          const value = fields[variable]
          if (value === undefined || value === null || value === '') continue
          if (typeof value !== 'string') throw new SourceError(`${variable} must be text`)
          found.set(variable, { value: (await opened(variable, value)).trim(), version: String(version) })
        }
        return found
      }),
    store: (variable, value) =>
      explained(async () => {
        for (let attempt = 1; attempt <= WRITES; attempt++) {
          const { fields, version } = await read()
          const isSealed = KEYRINGS.has(variable) || SEALED_VALUE.test(String(fields[variable]))
          const stored = transit !== undefined && isSealed ? await wrapped(value) : value
          if (await write({ ...fields, [variable]: stored }, version)) return
        }
        throw new SourceError('other writers keep changing it; try again')
      }),
    close: () => session.end()
  }
}

function reasonOf(error: unknown, path: string): string {
  if (error instanceof SourceError) return error.message
  if (!(error instanceof RemoteError)) return (error as Error).message
  switch (error.status) {
    case SEALED:
      return 'is sealed'
    case FORBIDDEN:
      return `its policy does not allow ${path}`
    case 404:
      return `has no secret at ${path}, or no KV v2 engine is mounted there`
    default:
      return error.message
  }
}
