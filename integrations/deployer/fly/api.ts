import { type Static, Type } from '@sinclair/typebox'
import type { Remote } from '../../../plugins/lib/remote.ts'

/** Fly is written in Go, which may omit empty values or send null. */
const Maybe = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) =>
  Type.Optional(Type.Union([schema, Type.Null()]))

const Config = Type.Object({ metadata: Maybe(Type.Record(Type.String(), Type.String())) })

const Exit = Type.Object({
  exit_code: Maybe(Type.Integer()),
  oom_killed: Maybe(Type.Boolean())
})

export const Machine = Type.Object({
  id: Type.String({ pattern: '^[0-9a-z]+$' }),
  state: Type.String(),
  region: Type.String(),
  cordoned: Type.Optional(Type.Boolean()),
  config: Maybe(Config),
  /** The known part of the config while the machine's host is unreachable. */
  incomplete_config: Maybe(Config),
  checks: Maybe(Type.Array(Type.Object({ name: Type.String(), status: Type.String(), output: Maybe(Type.String()) }))),
  events: Maybe(
    Type.Array(
      Type.Object({
        type: Type.String(),
        request: Maybe(Type.Object({ exit_event: Maybe(Exit) }))
      })
    )
  )
})
export type Machine = Static<typeof Machine>

const Machines = Type.Union([Type.Array(Machine), Type.Null()])

const Refusal = Type.Object({ error: Type.Optional(Type.String()), status: Type.Optional(Type.String()) })
export type Refusal = Static<typeof Refusal> & { readonly http: number }

const App = Type.Object({ organization: Type.Object({ slug: Type.String() }) })
const Apps = Type.Object({ apps: Maybe(Type.Array(Type.Object({ name: Type.String() }))) })

/** The calls of the Machines API used here, each with its own accepted statuses and retries. */
export class MachinesApi {
  readonly #remote: Remote
  readonly #organization: string

  constructor(remote: Remote, organization: string) {
    this.#remote = remote
    this.#organization = organization
  }

  /** @throws RemoteError unless Fly answers and accepts our token */
  async ping(signal?: AbortSignal): Promise<void> {
    await this.#remote.call({ operation: 'list_regions', path: '/v1/platform/regions', signal, timeout: 5_000 })
  }

  /** The names of all apps of the organization. */
  async apps(signal: AbortSignal): Promise<string[]> {
    const path = `/v1/apps?org_slug=${encodeURIComponent(this.#organization)}`
    const { body } = await this.#remote.call({ operation: 'list_apps', path, schema: Apps, signal })
    return (body.apps ?? []).map(({ name }) => name)
  }

  /**
   * The owner of an app name; null if it is free. Apps of others are forbidden to us, which distinguishes them from
   * missing ones.
   */
  async owner(name: string, signal: AbortSignal): Promise<'us' | 'others' | null> {
    const answer = await this.#remote.call({
      operation: 'get_app',
      path: `/v1/apps/${name}`,
      schema: App,
      accept: [401, 403, 404],
      signal
    })
    if (answer.ok) return answer.body.organization.slug === this.#organization ? 'us' : 'others'
    return answer.status === 404 ? null : 'others'
  }

  /** @returns false when the name is already taken, by us or by others */
  async createApp(name: string, signal: AbortSignal): Promise<boolean> {
    const answer = await this.#remote.call({
      operation: 'create_app',
      method: 'POST',
      path: '/v1/apps',
      body: { app_name: name, org_slug: this.#organization },
      accept: [409, 422],
      idempotent: true,
      signal
    })
    if (answer.ok) return true
    const { error = '', status } = refusalOf(answer.status, answer.body)
    if (status === 'name_taken' || /already been taken/i.test(error)) return false
    throw new Error(`fly: create_app: refused with ${answer.status}`)
  }

  /** Fly answers before the deletion is complete. */
  async deleteApp(name: string, signal: AbortSignal): Promise<void> {
    const path = `/v1/apps/${name}?force=true`
    await this.#remote.call({ operation: 'delete_app', method: 'DELETE', path, accept: [404], signal })
  }

  /** All existing machines of an app; none if the app does not exist. */
  async machines(app: string, signal: AbortSignal, { includeDeleted = false } = {}): Promise<Machine[]> {
    const answer = await this.#remote.call({
      operation: 'list_machines',
      path: `/v1/apps/${app}/machines${includeDeleted ? '?include_deleted=true' : ''}`,
      schema: Machines,
      accept: [404],
      signal
    })
    if (!answer.ok) return []
    const machines = answer.body ?? []
    return includeDeleted ? machines : machines.filter(({ state }) => state !== 'destroyed')
  }

  /** @returns null when there is no such machine */
  async machine(app: string, id: string, signal: AbortSignal): Promise<Machine | null> {
    const path = `/v1/apps/${app}/machines/${id}`
    const answer = await this.#remote.call({ operation: 'get_machine', path, schema: Machine, accept: [404], signal })
    return answer.ok ? answer.body : null
  }

  /** Fly refuses a name in use with 409. Never retried blindly: callers look first. */
  async createMachine(app: string, wish: object, signal: AbortSignal): Promise<Machine | Refusal> {
    const answer = await this.#remote.call({
      operation: 'create_machine',
      method: 'POST',
      path: `/v1/apps/${app}/machines`,
      body: wish,
      schema: Machine,
      accept: [400, 404, 409, 412, 422],
      idempotent: false,
      signal
    })
    return answer.ok ? answer.body : refusalOf(answer.status, answer.body)
  }

  /** Cordons or uncordons the machine. */
  cordon(app: string, { id }: Machine, isClosed: boolean, signal: AbortSignal): Promise<void> {
    return this.#act(app, id, isClosed ? 'cordon' : 'uncordon', {}, signal)
  }

  /** Sends SIGTERM, and SIGKILL after `seconds`. */
  stop(app: string, { id }: Machine, seconds: number, signal: AbortSignal): Promise<void> {
    return this.#act(app, id, 'stop', { signal: 'SIGTERM', timeout: `${seconds}s` }, signal)
  }

  async destroyMachine(app: string, { id }: Machine, signal: AbortSignal): Promise<void> {
    const path = `/v1/apps/${app}/machines/${id}?force=true`
    await this.#remote.call({ operation: 'delete_machine', method: 'DELETE', path, accept: [404], signal })
  }

  /** Ignores a machine that is gone or in the wrong state; the next look finds out. */
  async #act(app: string, id: string, action: string, body: object, signal: AbortSignal): Promise<void> {
    await this.#remote.call({
      operation: `${action}_machine`,
      method: 'POST',
      path: `/v1/apps/${app}/machines/${id}/${action}`,
      body,
      accept: [404, 412],
      idempotent: true,
      signal
    })
  }
}

function refusalOf(http: number, body: unknown): Refusal {
  const { error, status } = (body ?? {}) as Record<string, unknown>
  return { http, ...(typeof error === 'string' && { error }), ...(typeof status === 'string' && { status }) }
}

/**
 * The `Authorization` header for a Fly token: macaroons, which begin with `fm1r_` or `fm2_`, have their own scheme;
 * tokens printed by `fly tokens create` already include it.
 */
export function authorization(token: string): string {
  if (token.startsWith('FlyV1 ')) return token
  return /(^|,)(fm1r|fm2)_/.test(token) ? `FlyV1 ${token}` : `Bearer ${token}`
}
