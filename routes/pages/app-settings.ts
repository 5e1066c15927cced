import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply } from 'fastify'
import { errors } from '../../plugins/lib/errors.ts'
import * as schemas from '../../schemas/pages.ts'
import type { AppChanges } from '../../src/domain/apps/apps.ts'
import { parseDotenv } from '../../src/domain/apps/dotenv.ts'
import { deleteEnvVar, listEnvVars, setEnvVar } from '../../src/domain/apps/env-vars.ts'
import { countsOf, overviewApp } from '../../src/domain/apps/overview.ts'
import { listRegions } from '../../src/domain/apps/regions.ts'
import type { SecretBox } from '../../src/domain/base/secret-box.ts'
import { isActive } from '../../src/domain/deployments/lifecycle.ts'
import { allows, findApp, PERMISSIONS } from '../../src/domain/teams/access.ts'
import { type AppSettings, appSettingsPage, deleteAppPage } from '../../views/apps/settings.ts'
import { appOf, callerOf } from '../lib/access.ts'
import { type AppRequest, type AppRoutesOptions, appActions } from '../lib/apps.ts'
import { changes } from '../lib/change.ts'
import { type DeploymentRoutesOptions, deploymentActions, deploymentAudit } from '../lib/deploying.ts'
import { leadingTo, submit } from '../lib/forms.ts'
import { sendPage } from '../lib/page.ts'
import { forms, pages } from '../lib/policy.ts'

export interface AppSettingsOptions extends AppRoutesOptions, DeploymentRoutesOptions {
  readonly secretBox: SecretBox
}

const MOST_VARS = 200
const audited = (action: 'update' | 'delete') => ({ type: 'app', action, resource: 'app' }) as const
const varAudit = (action: 'set' | 'delete') => ({ type: 'app', action, resource: 'env_var' }) as const

/** The settings of an app, its variables, and its deletion. */
const appSettings: FastifyPluginCallbackTypebox<AppSettingsOptions> = (app, options, done) => {
  const change = changes(app)
  const { update, remove } = appActions(app, options)
  const { begin } = deploymentActions(app, options)

  app.get('/apps/:app/settings', {
    schema: schemas.appSettings,
    config: { ...pages, access: PERMISSIONS.viewApps },
    handler: async (request, reply) => sendSettings(request, reply)
  })

  app.post('/apps/:app/settings', {
    schema: schemas.submitAppSettings,
    attachValidation: true,
    config: { ...forms, access: PERMISSIONS.changeApps, audit: audited('update') },
    handler: (request, reply) =>
      submit(request, reply, {
        again: problem =>
          sendSettings(request, reply, { form: request.body.part ?? 'general', values: request.body, problem }),
        run: async () => {
          const saved = await update(request, wantedChanges(request.body))
          return change(request, reply, async tx => {
            const changed = await saved(tx)
            return leadingTo(`/apps/${changed.app.slug}/settings?done=saved`, changed)
          })
        }
      })
  })

  app.post('/apps/:app/settings/env', {
    schema: schemas.submitEnvVars,
    attachValidation: true,
    config: { ...forms, access: PERMISSIONS.manageEnvVars, audit: varAudit('set') },
    handler: (request, reply) =>
      submit(request, reply, {
        again: problem => sendSettings(request, reply, { form: 'env', values: request.body, problem }),
        run: () =>
          change(request, reply, async tx => {
            const found = await appOf(app, tx, request)
            const { lines, buildTime, next } = request.body
            const entries = parseDotenv(lines)
            for (const [key, value] of entries)
              await setEnvVar(tx, options.secretBox, found.id, key, value, buildTime !== undefined)
            const keys = entries.map(([key]) => key)
            app.audit?.about(request, { resourceId: keys[0] ?? null, resourceName: keys.join(', ').slice(0, 255) })
            const set = { status: 200, audit: { details: { key: keys.join(', ').slice(0, 1_000) } } }
            if (next !== 'deploy') return leadingTo(`/apps/${found.slug}/settings?done=saved#env`, set)
            const begun = await begin(tx, request, found, {})
            await app.audit?.record(tx, request, { ...deploymentAudit('deploy'), ...begun.audit })
            return leadingTo(`/apps/${found.slug}/deployments/${begun.deployment.id}?done=deploying`, set)
          })
      })
  })

  app.post('/apps/:app/settings/env/delete', {
    schema: schemas.submitEnvVarDeletion,
    config: { ...forms, access: PERMISSIONS.manageEnvVars, audit: varAudit('delete') },
    handler: (request, reply) =>
      change(request, reply, async tx => {
        const found = await appOf(app, tx, request)
        const { key } = request.body
        app.audit?.about(request, { resourceId: key, resourceName: key })
        await deleteEnvVar(tx, found.id, key)
        return leadingTo(`/apps/${found.slug}/settings?done=deleted#env`, { status: 200, audit: { details: { key } } })
      })
  })

  app.get('/apps/:app/delete', {
    schema: schemas.deleteAppPage,
    config: { ...pages, access: PERMISSIONS.deleteApps, stepUp: true },
    handler: async (request, reply) => sendDeletion(request, reply)
  })

  app.post('/apps/:app/delete', {
    schema: schemas.submitAppDeletion,
    attachValidation: true,
    config: { ...forms, access: PERMISSIONS.deleteApps, stepUp: true, audit: audited('delete') },
    handler: (request, reply) =>
      submit(request, reply, {
        again: ({ fields, message }) => sendDeletion(request, reply, fields.confirm ?? message),
        run: () =>
          change(request, reply, async tx => {
            const { slug } = await appOf(app, tx, request)
            if (request.body.confirm !== slug)
              throw errors.validation('confirm', `this is not ${slug}, so nothing was deleted`)
            const removed = await remove(tx, request)
            return leadingTo('/apps?done=deleted', removed)
          })
      })
  })

  async function sendSettings(
    request: AppRequest,
    reply: FastifyReply,
    refused?: AppSettings['refused']
  ): Promise<FastifyReply> {
    const { role, ...found } = await findApp(
      app.db,
      callerOf(request).userId,
      (await appOf(app, app.db, request, 'member')).id
    )
    const mayChange = allows(role, PERMISSIONS.changeApps)
    const [regions, envVars] = await Promise.all([
      listRegions(app.db),
      mayChange ? listEnvVars(app.db, found.id, { limit: MOST_VARS }) : { items: [] }
    ])
    const page = { app: found, url: options.urlOf(found), regions, envVars: envVars.items, mayChange, refused }
    return sendPage(app, request, reply, appSettingsPage(page), found.teamId)
  }

  async function sendDeletion(request: AppRequest, reply: FastifyReply, error?: string): Promise<FastifyReply> {
    const found = await appOf(app, app.db, request)
    const [{ latest, live }, counts] = await Promise.all([overviewApp(app.db, found.id), countsOf(app.db, found.id)])
    const page = {
      app: found,
      url: options.urlOf(found),
      counts,
      isServing: live !== null,
      isBuilding: latest !== null && isActive(latest.status),
      error
    }
    return sendPage(app, request, reply, deleteAppPage(page), found.teamId)
  }

  done()
}

interface SettingsForm {
  part: 'general' | 'source'
  name?: string
  region?: string
  source?: 'git' | 'github'
  repository?: string
  branch?: string
  directory?: string
  autoDeploy?: string
}

/** The changes from one part of the settings; the other parts stay as they are. */
function wantedChanges({
  part,
  name,
  region,
  source,
  repository,
  branch,
  directory,
  autoDeploy
}: SettingsForm): AppChanges {
  if (part === 'general') return { ...(name !== undefined && { name }), ...(region !== undefined && { region }) }
  return {
    ...(branch !== undefined && { githubBranch: branch }),
    rootDirectory: directory ?? null,
    autoDeploy: autoDeploy !== undefined,
    ...(source === 'github' ? { githubRepo: repository ?? null } : { gitUrl: repository ?? null, githubRepo: null })
  }
}

export default appSettings
