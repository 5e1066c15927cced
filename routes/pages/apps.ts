import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import * as schemas from '../../schemas/pages.ts'
import type { NewApp } from '../../src/domain/apps/apps.ts'
import { overviewApps } from '../../src/domain/apps/overview.ts'
import { listRegions } from '../../src/domain/apps/regions.ts'
import { listInstallations, searchRepositories } from '../../src/domain/github/installations.ts'
import { PERMISSIONS } from '../../src/domain/teams/access.ts'
import { appListPage } from '../../views/apps/list.ts'
import { type FoundRepositories, newAppPage } from '../../views/apps/new.ts'
import type { Problem, Values } from '../../views/parts.ts'
import { withHealth } from '../lib/app-health.ts'
import { type AppRoutesOptions, appActions } from '../lib/apps.ts'
import { changes } from '../lib/change.ts'
import { type DeploymentRoutesOptions, deploymentActions, deploymentAudit, deploys } from '../lib/deploying.ts'
import { leadingTo, submit } from '../lib/forms.ts'
import { sendPage, teamInUrl, teamNamed } from '../lib/page.ts'
import { forms, pages } from '../lib/policy.ts'

export interface AppPagesOptions extends AppRoutesOptions, DeploymentRoutesOptions {}

/** Longer lists are searched, not read. */
const MOST_APPS = 200
const MOST_REPOSITORIES = 12

const appPages: FastifyPluginCallbackTypebox<AppPagesOptions> = (app, options, done) => {
  const change = changes(app)
  const actions = appActions(app, options)
  const { deploy, begin } = deploymentActions(app, options)
  const canDeploy = options.ledger !== null

  app.get('/apps', {
    schema: schemas.appList,
    config: { ...pages, access: PERMISSIONS.viewApps, slo: 'search' },
    handler: async (request, reply) => {
      const { q: text, sort = 'attention' } = request.query
      const team = await teamInUrl(app, request)
      const found =
        team === undefined
          ? []
          : await withHealth(app, await overviewApps(app.postgres.reads, team.id, { text, limit: MOST_APPS + 1 }))
      const list = { team, apps: found.slice(0, MOST_APPS), text, sort, isCut: found.length > MOST_APPS }
      return sendPage(app, request, reply, appListPage({ ...list, urlOf: options.urlOf }), team?.id)
    }
  })

  app.get('/apps/new', {
    schema: schemas.newApp,
    config: { ...pages, access: PERMISSIONS.createApps },
    handler: async (request, reply) => {
      const { find, repository, branch } = request.query
      const chosen =
        repository === undefined
          ? {}
          : { source: 'github', repository, branch: branch ?? 'main', name: repository.split('/').at(-1) }
      const team = await teamInUrl(app, request)
      return sendNewApp(request, reply, team?.slug, chosen, { found: await repositoriesOf(team?.id, find), find })
    }
  })

  app.post('/apps/new', {
    schema: schemas.submitNewApp,
    attachValidation: true,
    config: { ...forms, access: PERMISSIONS.createApps, audit: { type: 'app', action: 'create', resource: 'app' } },
    handler: (request, reply) =>
      submit(request, reply, {
        again: problem => sendNewApp(request, reply, request.body.team, request.body, { problem }),
        run: async () => {
          const create = await actions.create(request, wantedApp(request.body), request.body.team)
          return change(request, reply, async tx => {
            const created = await create(tx)
            const { app: made } = created
            if (request.body.next !== 'deploy') return leadingTo(`/apps/${made.slug}?done=created`, created)
            const begun = await begin(tx, request, made, {})
            await app.audit?.record(tx, request, { ...deploymentAudit('deploy'), ...begun.audit })
            return leadingTo(`/apps/${made.slug}/deployments/${begun.deployment.id}?done=created`, created)
          })
        }
      })
  })

  app.post('/apps/:app/deploy', {
    schema: schemas.submitDeploy,
    attachValidation: true,
    config: { ...forms, ...deploys, audit: deploymentAudit('deploy') },
    handler: (request, reply) =>
      change(request, reply, async tx => {
        const begun = await deploy(tx, request, {})
        return leadingTo(`/apps/${begun.app.slug}/deployments/${begun.deployment.id}?done=deploying`, begun)
      })
  })

  async function sendNewApp(
    request: FastifyRequest,
    reply: FastifyReply,
    slug: string | undefined,
    values: Values,
    more: { problem?: Problem; found?: FoundRepositories | null; find?: string | undefined }
  ) {
    const { team, teams } = await teamNamed(app, request, slug)
    const page = {
      team,
      teams,
      regions: await listRegions(app.db),
      hasGithub: app.hasDecorator('github'),
      hostSuffix: null,
      canDeploy,
      values,
      ...more
    }
    return sendPage(app, request, reply, newAppPage(page), team?.id)
  }

  /**
   * Repositories that the GitHub App can access for the team; null without a GitHub App. A page does not fail because
   * GitHub is unreachable.
   */
  async function repositoriesOf(teamId: string | undefined, q = ''): Promise<FoundRepositories | null> {
    if (teamId === undefined || !app.hasDecorator('github')) return null
    const { items: accounts } = await listInstallations(app.db, teamId, { limit: 1 })
    if (accounts.length === 0) return { state: 'none', repositories: [] }
    try {
      const { items } = await searchRepositories(app.db, app.github, teamId, { q, limit: MOST_REPOSITORIES })
      return { state: 'found', repositories: items }
    } catch (error) {
      if ((error as Error).name !== 'RemoteError') throw error
      return { state: 'away', repositories: [] }
    }
  }

  done()
}

type NewAppForm = {
  name: string
  slug?: string
  source: string
  repository?: string
  branch?: string
  directory?: string
  region?: string
}

/** The form's values in the form of an API request. */
function wantedApp({ name, slug, source, repository, branch, directory, region }: NewAppForm): NewApp {
  return {
    name,
    ...(slug !== undefined && { slug }),
    ...(region !== undefined && { region }),
    ...(source !== 'none' && branch !== undefined && { githubBranch: branch }),
    ...(source !== 'none' && directory !== undefined && { rootDirectory: directory }),
    ...(source === 'github' && repository !== undefined && { githubRepo: repository }),
    ...(source === 'git' && repository !== undefined && { gitUrl: repository })
  }
}

export default appPages
