import { and, eq, isNotNull, isNull } from 'drizzle-orm'
import { apps, type Db, type DeploymentStatus, deployments, githubInstallations } from '../../../drizzle/schema.ts'
import { type CommitStatus, type Github, InstallationUnavailable } from '../../../integrations/github/index.ts'
import type { JobQueue } from '../../../plugins/jobs/port.ts'

type Told = Pick<CommitStatus, 'state' | 'description'>

const ON_ITS_WAY: Told = { state: 'pending', description: 'Deployment in progress' }

/** The commit status that GitHub shows for each deployment status. */
const TOLD: Readonly<Record<DeploymentStatus, Told>> = {
  pending: { state: 'pending', description: 'Deployment queued' },
  cloning: ON_ITS_WAY,
  analyzing: ON_ITS_WAY,
  building: ON_ITS_WAY,
  pushing: ON_ITS_WAY,
  built: ON_ITS_WAY,
  deploying: ON_ITS_WAY,
  live: { state: 'success', description: 'Deployed' },
  superseded: { state: 'success', description: 'Deployed, then replaced by a later deployment' },
  build_failed: { state: 'failure', description: 'The build failed' },
  deploy_failed: { state: 'failure', description: 'The deployment failed' },
  cancelled: { state: 'error', description: 'The deployment was cancelled' }
}

export const COMMIT_STATUS = 'commit-status'

export interface CommitStatusData {
  readonly deploymentId: string
}

export interface CommitStatusSettings {
  readonly db: () => Db
  readonly github: Github
  /** Public URL of this server. */
  readonly baseUrl: string
}

/**
 * Reports deployments to GitHub as commit statuses. A job reports the status current when it runs, and reports again if
 * it has changed meanwhile, so the last report is always the latest status. The job key is the deployment's id.
 */
export function commitStatuses({ db, github, baseUrl }: CommitStatusSettings): JobQueue<CommitStatusData> {
  return {
    name: COMMIT_STATUS,
    concurrency: 5,
    timeout: 60,
    retries: 5,
    retryDelay: 10,
    serial: true,
    async run({ deploymentId }, { signal, log }) {
      let said: Told | undefined
      for (;;) {
        const deployment = await findReported(db(), deploymentId)
        const told = deployment && TOLD[deployment.status]
        if (told === undefined || told.state === said?.state) return
        const { installationId, repository, sha, slug } = deployment!
        const targetUrl = `${baseUrl}/apps/${slug}/deployments/${deploymentId}`
        try {
          await github.setStatus(installationId!, repository!, sha!, { ...told, targetUrl }, signal)
        } catch (error) {
          if (!(error instanceof InstallationUnavailable)) throw error
          return log.info({ deploymentId, reason: error.reason }, 'a commit status could not be reported to GitHub')
        }
        said = told
      }
    }
  }
}

/** The deployment, if its commit can be reported: the app's installation must be connected and not suspended. */
async function findReported(db: Db, deploymentId: string) {
  const [found] = await db
    .select({
      status: deployments.status,
      sha: deployments.commitSha,
      slug: apps.slug,
      repository: apps.githubRepo,
      installationId: apps.githubInstallationId
    })
    .from(deployments)
    .innerJoin(apps, eq(apps.id, deployments.appId))
    .innerJoin(githubInstallations, eq(githubInstallations.installationId, apps.githubInstallationId))
    .where(
      and(
        eq(deployments.id, deploymentId),
        isNotNull(deployments.commitSha),
        isNotNull(apps.githubRepo),
        isNull(githubInstallations.suspendedAt)
      )
    )
  return found
}
