import type { FastifyInstance } from 'fastify'
import { type ArchiveSource, BuildError, type BuildSource } from '../../../integrations/builder/index.ts'
import { InstallationUnavailable } from '../../../integrations/github/index.ts'
import { openSource, SourceGone } from '../../domain/apps/sources.ts'
import type { Db } from '../../domain/base/db.ts'
import type { WorkedApp } from '../../domain/deployments/work.ts'
import { isOperatorTeam } from '../../domain/teams/teams.ts'
import { has } from '../../kernel/has.ts'

/** Finds an app's clone source and credentials. @throws BuildError when either is missing */
export function sourceFinder(app: FastifyInstance, githubUrl: string) {
  return async (worked: WorkedApp): Promise<Pick<BuildSource, 'url' | 'authorization' | 'mayReadOurs'>> => {
    const { gitUrl, githubRepo, githubRepoId, githubInstallationId } = worked
    if (gitUrl !== null) return { url: gitUrl, mayReadOurs: await isOperatorTeam(app.db, worked.teamId) }
    if (githubRepo === null) throw new BuildError('The app has no githubRepo or gitUrl to build from.')
    const url = `${githubUrl}/${githubRepo}.git`
    if (githubInstallationId === null || !has(app, 'github')) return { url }
    try {
      return {
        url,
        authorization: await app.github.cloneAuthorization(githubInstallationId, githubRepoId ?? undefined)
      }
    } catch (error) {
      if (!(error instanceof InstallationUnavailable)) throw error
      throw new BuildError('GitHub denies access to the repository: the installation was suspended or removed.')
    }
  }
}

/** A deployment's uploaded source, for the builder. @throws BuildError when it is no longer stored */
export async function uploadedSource(db: Db, id: string): Promise<ArchiveSource> {
  const { digest, read } = await openSource(db, id).catch(orNoLongerKept)
  async function* bytes(): AsyncGenerator<Uint8Array> {
    try {
      yield* read()
    } catch (error) {
      orNoLongerKept(error)
    }
  }
  return { digest, read: bytes }
}

function orNoLongerKept(error: unknown): never {
  if (!(error instanceof SourceGone)) throw error
  throw new BuildError('The uploaded source is no longer kept: deploy the folder again.')
}
