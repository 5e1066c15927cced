import type { TSchema } from '@sinclair/typebox'
import { type Remote, type RemoteCall, RemoteError } from '../../plugins/lib/remote.ts'
import { InstallationTokens } from './installation-tokens.ts'
import { Quota } from './quota.ts'

/** GitHub's REST API, called as the App or for an installation, within GitHub's rate limits for each. */
export interface Api {
  readonly asApp: Remote['call']
  for(installationId: number): Remote['call']
  readonly tokens: InstallationTokens
}

export function createApi(remote: Remote, appToken: () => Promise<string>): Api {
  const quota = new Quota()

  const asApp: Remote['call'] = request =>
    quota.run('app', request.operation, async () => remote.call(withToken(request, await appToken())))
  const tokens = new InstallationTokens(asApp)

  const forInstallation =
    (installationId: number): Remote['call'] =>
    async request => {
      const ask = (token: string) =>
        quota.run(`${installationId}`, request.operation, () => remote.call(withToken(request, token)))
      const token = await tokens.get(installationId)
      try {
        return await ask(token)
      } catch (error) {
        if (!isRefusal(error)) throw error
        // The token ended early, or the App was suspended or removed meanwhile; a new token shows which.
        tokens.refuse(installationId, token)
        return ask(await tokens.get(installationId))
      }
    }

  return { asApp, for: forInstallation, tokens }
}

function withToken<Schema extends TSchema, Accepted extends number>(
  request: RemoteCall<Schema, Accepted>,
  token: string
): RemoteCall<Schema, Accepted> {
  return { ...request, headers: { ...request.headers, authorization: `Bearer ${token}` } }
}

function isRefusal(error: unknown): boolean {
  if (!(error instanceof RemoteError)) return false
  return error.status === 401 || (error.status === 403 && error.retryAfter === undefined)
}

/** `owner/name` as part of a path; null when no repository can have that name. */
export function repositoryPath(repository: string): string | null {
  const [owner, name, ...more] = repository.split('/')
  if (!owner || !name || more.length > 0 || isDotSegment(owner) || isDotSegment(name)) return null
  return `/repos/${encodeURIComponent(owner)}/${encodeURIComponent(name)}`
}

/** Whether a path segment would leave its parent. */
export const isDotSegment = (part: string): boolean => part === '.' || part === '..'
