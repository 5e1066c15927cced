import { type Static, Type } from '@sinclair/typebox'
import { type Latest, latest } from '../../plugins/lib/latest.ts'
import type { Remote } from '../../plugins/lib/remote.ts'
import type { Installation } from './port.ts'
import type { refusals } from './refusals.ts'

const User = Type.Object({ id: Type.Integer({ minimum: 1 }) })
const InstallationAnswer = Type.Object({
  id: Type.Integer({ minimum: 1 }),
  app_id: Type.Integer(),
  account: Type.Object({ id: Type.Integer({ minimum: 1 }), login: Type.String(), type: Type.String() }),
  suspended_at: Type.Optional(Type.Union([Type.String(), Type.Null()]))
})
const Installations = Type.Object({ installations: Type.Array(InstallationAnswer) })
const Membership = Type.Object({ role: Type.String(), state: Type.String() })

const PER_PAGE = 100
const MOST_PAGES = 10

export interface OwnersSettings {
  /** GitHub's site, which exchanges codes for tokens. */
  readonly site: Remote
  readonly api: Remote
  readonly appId: number
  readonly clientId: string
  readonly clientSecret: Latest<string>
  readonly refuse: ReturnType<typeof refusals>
}

/** Asks GitHub, on a user's behalf, what they own. The user's token is never stored. */
export function ownersOf({ site, api, appId, clientId, clientSecret, refuse }: OwnersSettings) {
  async function tokenFor(code: string): Promise<string> {
    const { body } = await site.call({
      operation: 'exchange_code',
      method: 'POST',
      path: '/login/oauth/access_token',
      body: new URLSearchParams({ client_id: clientId, client_secret: latest(clientSecret), code })
    })
    const { access_token: token, error, error_description: description } = Object(body)
    if (typeof token === 'string' && token !== '') return token
    if (error === 'bad_verification_code') throw refuse.staleCode()
    throw refuse.misconfigured(`${error}: ${description}`)
  }

  /** Finds the installation among those the user has access to. */
  async function find(installationId: number, headers: { authorization: string }) {
    for (let page = 1; page <= MOST_PAGES; page++) {
      const { body } = await api.call({
        operation: 'list_user_installations',
        path: `/user/installations?per_page=${PER_PAGE}&page=${page}`,
        headers,
        schema: Installations
      })
      const found = body.installations.find(({ id, app_id }) => id === installationId && app_id === appId)
      if (found !== undefined) return found
      if (body.installations.length < PER_PAGE) break
    }
    throw refuse.notTheirs()
  }

  /**
   * Access is not enough: anyone who may read one repository of an organization has it, and would get all others that
   * the App may read.
   */
  async function owns({ account }: Static<typeof InstallationAnswer>, headers: { authorization: string }) {
    if (account.type === 'User') {
      const { body } = await api.call({ operation: 'get_user', path: '/user', headers, schema: User })
      return body.id === account.id
    }
    const answer = await api.call({
      operation: 'get_membership',
      path: `/user/memberships/orgs/${encodeURIComponent(account.login)}`,
      headers,
      schema: Membership,
      accept: [403, 404]
    })
    return answer.ok && answer.body.role === 'admin' && answer.body.state === 'active'
  }

  return {
    /**
     * The installation, if the user who brought the code owns its account.
     *
     * @throws AppError that tells the user why not
     */
    async installationOf(code: string, installationId: number): Promise<Installation> {
      const headers = { authorization: `Bearer ${await tokenFor(code)}` }
      const found = await find(installationId, headers)
      if (!(await owns(found, headers))) throw refuse.notTheirs()
      const { account, suspended_at: suspendedAt } = found
      return {
        id: found.id,
        accountType: account.type === 'User' ? 'User' : 'Organization',
        accountLogin: account.login,
        accountId: account.id,
        suspendedAt: suspendedAt ? new Date(suspendedAt) : null
      }
    }
  }
}
