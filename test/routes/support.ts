import type { TestContext } from 'node:test'
import type { LightMyRequestResponse } from 'fastify'
import { SCOPES, type Scope } from '../../drizzle/schema.ts'
import type { Swaps } from '../../src/app.ts'
import { createToken } from '../../src/domain/accounts/tokens.ts'
import { addTeam, addUser } from '../domain/support.ts'
import { type TestApp, testApp } from '../support/app.ts'

/** A user of the API. */
export interface Caller {
  readonly id: string
  readonly token: string
  readonly call: (
    method: string,
    url: string,
    body?: unknown,
    headers?: Record<string, string>
  ) => Promise<LightMyRequestResponse>
}

export interface Platform extends TestApp {
  readonly operator: Caller
  addCaller(options?: { username?: string; scopes?: readonly Scope[] }): Promise<Caller>
  /** A team with an owner, an admin and a member; and a user of another team. */
  addPeople(): Promise<{
    team: { id: string; slug: string }
    owner: Caller
    admin: Caller
    member: Caller
    stranger: Caller
  }>
}

/** Limits that tests do not reach by accident. */
const GENEROUS = {
  RATE_LIMIT_GENERAL: '10000/s:10000',
  RATE_LIMIT_AUTH: '10000/s:10000',
  RATE_LIMIT_DEPLOY: '10000/s:10000',
  RATE_LIMIT_STRICT: '10000/s:10000',
  RATE_LIMIT_USER: '10000/s:10000'
}

/** The whole server with its own database and users. */
export async function platform(
  scope: { after(release: () => Promise<void>): void },
  swaps: Swaps = {}
): Promise<Platform> {
  const server = await testApp(scope as unknown as TestContext, GENEROUS, swaps)
  const { app, as } = server

  const callerWith = (id: string, token: string): Caller => ({
    id,
    token,
    call: (method, url, body, headers) => as(token, method, url, body, headers)
  })

  async function addCaller({ username, scopes = SCOPES }: { username?: string; scopes?: readonly Scope[] } = {}) {
    const id = await addUser(app.db, username)
    const { token } = await createToken(app.db, { userId: id, name: 'test', scopes })
    return callerWith(id, token)
  }

  const me = await as(server.token, 'GET', '/api/v1/me')
  return {
    ...server,
    operator: callerWith(me.json().id, server.token),
    addCaller,
    async addPeople() {
      const [owner, admin, member, stranger] = [
        await addCaller(),
        await addCaller(),
        await addCaller(),
        await addCaller()
      ]
      const team = await addTeam(app.db, { [owner.id]: 'owner', [admin.id]: 'admin', [member.id]: 'member' })
      await addTeam(app.db, { [stranger.id]: 'owner' })
      return { team, owner, admin, member, stranger }
    }
  }
}

export function errorOf(response: LightMyRequestResponse): { status: number; code: string; detail?: string } {
  const { code, detail } = response.json().error
  return { status: response.statusCode, code, ...(detail !== undefined && { detail }) }
}
