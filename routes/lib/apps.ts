import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { DeployedApp } from '../../integrations/deployer/port.ts'
import {
  type AppChanges,
  changeApp,
  columnsOf,
  createApp,
  deleteApp,
  type ListedApp,
  type NewApp,
  needsOthers
} from '../../src/domain/apps/apps.ts'
import { updateWithAudit } from '../../src/domain/apps/audited-update.ts'
import { settledSource } from '../../src/domain/apps/source.ts'
import type { SignedRow } from '../../src/domain/audit/log.ts'
import type { Db } from '../../src/domain/base/db.ts'
import { entityTag, expectedVersion } from '../../src/domain/base/revision.ts'
import type { App } from '../../src/domain/teams/access.ts'
import { findHomeTeam } from '../../src/domain/teams/teams.ts'
import { appAsSeen, appOf, callerOf, teamOf } from './access.ts'
import type { Change, Changed, RecordWith } from './change.ts'

export interface AppRoutesOptions {
  /** Whether apps may use git repositories on this machine. */
  readonly allowLocalGit: boolean
  /** The URL of an app; null while it is unknown. */
  readonly urlOf: (app: DeployedApp) => string | null
}

export type AppRequest = FastifyRequest<{ Params: { app: string } }>

/** The result of a change to an app, for the API and for pages. */
export interface AppChanged extends Changed {
  readonly app: App
}

/** A change of an app. Calls to other services come before it. */
type Prepared = Change<AppChanged>

/** The changes of apps, for the API and for pages. */
export function appActions(app: FastifyInstance, { allowLocalGit, urlOf }: AppRoutesOptions) {
  /** @param team a UUID or slug; absent: the team of the caller's token, or the caller's own */
  async function create(request: FastifyRequest, wanted: NewApp, team: string | undefined): Promise<Prepared> {
    const named = team ?? callerOf(request).teamId
    const inTeam = (db: Db) => (named ? teamOf(app, db, request, named) : homeOf(db, request))
    const settings = namesSource(wanted) ? await settled(await inTeam(app.db), null, wanted) : wanted
    return async tx => {
      const { id } = await inTeam(tx)
      const created = await createApp(tx, id, settings)
      const location = `/api/v1/apps/${created.id}`
      return {
        status: 201,
        headers: { location, ...tagOf(created) },
        body: present(created),
        audit: eventOf(created, created),
        app: created
      }
    }
  }

  async function update(request: AppRequest, wanted: AppChanges): Promise<Prepared> {
    const settings = namesSource(wanted) ? await settledFor(request, wanted) : wanted
    const inTransaction = async (tx: Db) => {
      const found = await appOf(app, tx, request)
      const version = expectedVersion(request.headers['if-match'], found)
      return updated(await changeApp(tx, found, settings, version), wanted)
    }
    const atOnce = async (record: RecordWith) => {
      const { role, ...found } = await appAsSeen(app, app.db, request)
      expectedVersion(request.headers['if-match'], found)
      const seen = { app: found, userId: callerOf(request).userId, role }
      const columns = columnsOf(settings)
      const event = updateOf({ ...found, ...columns, version: found.version + 1 }, wanted)
      const changed = await record(event, row => updateWithAudit(app.db, seen, columns, row as SignedRow))
      return changed && updated(changed, wanted)
    }
    return needsOthers(settings) ? inTransaction : Object.assign(inTransaction, { atOnce })
  }

  function updated(changed: App, wanted: AppChanges): AppChanged {
    return {
      status: 200,
      headers: tagOf(changed),
      body: present(changed),
      audit: updateOf(changed, wanted),
      app: changed
    }
  }

  async function remove(tx: Db, request: AppRequest): Promise<AppChanged> {
    const found = await appOf(app, tx, request)
    await deleteApp(tx, found, expectedVersion(request.headers['if-match'], found))
    return { status: 204, audit: eventOf(found, { slug: found.slug }), app: found }
  }

  async function homeOf(tx: Db, request: FastifyRequest): Promise<{ id: string }> {
    const home = await findHomeTeam(tx, callerOf(request).userId)
    app.audit?.about(request, { teamId: home.id })
    return home
  }

  async function settledFor(request: AppRequest, wanted: AppChanges): Promise<AppChanges> {
    const found = await appOf(app, app.db, request)
    return settled({ id: found.teamId }, found.id, wanted)
  }

  function settled<Changes extends AppChanges>(team: { id: string }, appId: string | null, wanted: Changes) {
    const github = app.hasDecorator('github') ? app.github : null
    return settledSource(app.db, wanted, { teamId: team.id, appId, github, allowLocalGit })
  }

  /** An app as the API sends it. */
  function present<Told extends App | ListedApp>(found: Told): Told & { url: string | null } {
    return { ...found, url: urlOf(found) }
  }

  return { create, update, remove, present }
}

/** Whether the changes name a repository, which must be checked before the app is changed. */
function namesSource({ githubRepo, gitUrl }: AppChanges): boolean {
  return Boolean(githubRepo || gitUrl)
}

export function tagOf(app: App): { etag: string } {
  return { etag: entityTag(app) }
}

function updateOf(app: App, wanted: AppChanges) {
  return eventOf(app, { ...app, changed: Object.keys(wanted) })
}

/** The audit log keeps only the details that its catalogue allows. */
function eventOf(app: App, details: Readonly<Record<string, unknown>>) {
  return { resourceId: app.id, resourceName: app.name, teamId: app.teamId, appId: app.id, details }
}
