import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Plan } from '../../drizzle/schema.ts'
import { errors } from '../../plugins/lib/errors.ts'
import * as schemas from '../../schemas/team-pages.ts'
import { listAudit } from '../../src/domain/audit/events.ts'
import { listInstallations } from '../../src/domain/github/installations.ts'
import { allows, PERMISSIONS, type Role } from '../../src/domain/teams/access.ts'
import { listInvitations, placesOf } from '../../src/domain/teams/invitations.ts'
import { listMembers } from '../../src/domain/teams/members.ts'
import { deletionBlockers } from '../../src/domain/teams/teams.ts'
import type { Problem } from '../../views/parts.ts'
import { deleteTeamPage } from '../../views/teams/delete.ts'
import { newTeamPage } from '../../views/teams/new.ts'
import { type TeamForm, type TeamPage, type TeamRights, teamPage } from '../../views/teams/team.ts'
import { teamOf } from '../lib/access.ts'
import { changes } from '../lib/change.ts'
import { leadingTo, submit } from '../lib/forms.ts'
import { installationAudit } from '../lib/github.ts'
import { sendPage } from '../lib/page.ts'
import { forms, pages } from '../lib/policy.ts'
import { teamActions } from '../lib/teams.ts'

export interface TeamPagesOptions {
  /** The plan of a new team. */
  readonly defaultPlan: Plan
  /** Where invitation links lead. */
  readonly baseUrl: URL
}

const MOST_MEMBERS = 100
const MOST_INVITATIONS = 200
const MOST_INSTALLATIONS = 100
const LAST_EVENTS = 8
const teamAudit = (action: 'create' | 'update' | 'delete' | 'transfer' | 'invite') =>
  ({ type: 'team', action, resource: 'team' }) as const
const memberAudit = (action: 'update' | 'remove') => ({ type: 'team', action, resource: 'member' }) as const

type TeamRequest = FastifyRequest<{ Params: { team: string } }>

/** Pages to create a team, to manage it with its members and invitations, and to delete it. */
const teamPages: FastifyPluginCallbackTypebox<TeamPagesOptions> = (app, { defaultPlan, baseUrl }, done) => {
  const change = changes(app)
  const actions = teamActions(app)

  app.get('/teams/new', {
    schema: schemas.newTeam,
    config: { ...pages, access: 'authenticated' },
    handler: async (request, reply) => sendPage(app, request, reply, newTeamPage({}))
  })

  app.post('/teams/new', {
    schema: schemas.submitNewTeam,
    attachValidation: true,
    config: { ...forms, access: 'authenticated', audit: teamAudit('create') },
    handler: (request, reply) =>
      submit(request, reply, {
        again: problem => sendPage(app, request, reply, newTeamPage(request.body, problem)),
        run: () =>
          change(request, reply, async tx => {
            const created = await actions.create(tx, request, namesIn(request.body), defaultPlan)
            return leadingTo(`/teams/${created.team.slug}?done=created`, created)
          })
      })
  })

  app.get('/teams/:team', {
    schema: schemas.team,
    config: { ...pages, access: PERMISSIONS.viewTeam },
    handler: async (request, reply) => sendTeam(request, reply, {}, request.query.cursor)
  })

  app.post('/teams/:team', {
    schema: schemas.submitTeam,
    attachValidation: true,
    config: { ...forms, access: PERMISSIONS.renameTeam, audit: teamAudit('update') },
    handler: (request, reply) =>
      submit(request, reply, {
        again: refusal(request, reply, 'names'),
        run: () =>
          change(request, reply, async tx => {
            const renamed = await actions.rename(tx, request, namesIn(request.body))
            return leadingTo(`/teams/${renamed.team.slug}?done=saved`, renamed)
          })
      })
  })

  app.post('/teams/:team/invitations', {
    schema: schemas.submitInvitation,
    attachValidation: true,
    config: { ...forms, access: PERMISSIONS.inviteMembers, rateClass: 'strict', audit: teamAudit('invite') },
    handler: (request, reply) =>
      submit(request, reply, {
        again: refusal(request, reply, 'invite'),
        run: () =>
          change(request, reply, async tx =>
            showingLink(request, reply, await actions.invite(tx, request, request.body.email, request.body.role))
          )
      })
  })

  app.post('/teams/:team/invitations/:id/again', {
    schema: schemas.submitInvitationAgain,
    attachValidation: true,
    config: { ...forms, access: PERMISSIONS.inviteMembers, rateClass: 'strict', audit: teamAudit('invite') },
    handler: (request, reply) =>
      submit(request, reply, {
        again: refusal(request, reply, 'other'),
        run: () => change(request, reply, async tx => showingLink(request, reply, await actions.again(tx, request)))
      })
  })

  app.post('/teams/:team/invitations/:id/revoke', {
    schema: schemas.submitRevocation,
    config: {
      ...forms,
      access: PERMISSIONS.inviteMembers,
      audit: { type: 'team', action: 'revoke', resource: 'invitation' }
    },
    handler: (request, reply) =>
      change(request, reply, async tx => {
        const revoked = await actions.revoke(tx, request)
        return leadingTo(`/teams/${revoked.team.slug}?done=revoked`, revoked)
      })
  })

  app.post('/teams/:team/installations/:id/disconnect', {
    schema: schemas.submitDisconnection,
    config: { ...forms, access: PERMISSIONS.manageInstallations, audit: installationAudit('disconnect') },
    handler: (request, reply) =>
      change(request, reply, async tx => {
        const disconnected = await actions.disconnect(tx, request)
        return leadingTo(`/teams/${disconnected.team.slug}?done=disconnected#installations`, disconnected)
      })
  })

  app.post('/teams/:team/members/:user/role', {
    schema: schemas.submitMemberRole,
    attachValidation: true,
    config: { ...forms, access: PERMISSIONS.changeRoles, changesOwnRole: true, audit: memberAudit('update') },
    handler: (request, reply) =>
      submit(request, reply, {
        again: refusal(request, reply, 'other'),
        run: () =>
          change(request, reply, async tx => {
            const changed = await actions.changeRole(tx, request, request.body.role)
            return leadingTo(`/teams/${changed.team.slug}?done=saved`, changed)
          })
      })
  })

  app.post('/teams/:team/members/:user/remove', {
    schema: schemas.submitRemoval,
    attachValidation: true,
    config: {
      ...forms,
      access: PERMISSIONS.removeMembers,
      accessSelf: PERMISSIONS.leaveTeam,
      audit: memberAudit('remove')
    },
    handler: (request, reply) =>
      submit(request, reply, {
        again: refusal(request, reply, 'other'),
        run: () =>
          change(request, reply, async tx => {
            const removed = await actions.removeFrom(tx, request)
            const next = removed.isSelf ? '/dashboard?done=left' : `/teams/${removed.team.slug}?done=removed`
            return leadingTo(next, removed)
          })
      })
  })

  app.post('/teams/:team/transfer', {
    schema: schemas.submitTransfer,
    attachValidation: true,
    config: { ...forms, access: PERMISSIONS.transferTeam, changesOwnRole: true, audit: teamAudit('transfer') },
    handler: (request, reply) =>
      submit(request, reply, {
        again: refusal(request, reply, 'other'),
        run: () =>
          change(request, reply, async tx => {
            const given = await actions.transfer(tx, request, request.body.user)
            return leadingTo(`/teams/${given.team.slug}?done=transferred`, given)
          })
      })
  })

  app.get('/teams/:team/delete', {
    schema: schemas.deleteTeam,
    config: { ...pages, access: PERMISSIONS.deleteTeam, stepUp: true },
    handler: async (request, reply) => sendDeletion(request, reply)
  })

  app.post('/teams/:team/delete', {
    schema: schemas.submitTeamDeletion,
    attachValidation: true,
    config: { ...forms, access: PERMISSIONS.deleteTeam, stepUp: true, audit: teamAudit('delete') },
    handler: (request, reply) =>
      submit(request, reply, {
        again: ({ fields, message }) => sendDeletion(request, reply, fields.confirm ?? message),
        run: () =>
          change(request, reply, async tx => {
            const { slug } = await teamOf(app, tx, request, request.params.team)
            if (request.body.confirm !== slug)
              throw errors.validation('confirm', `this is not ${slug}, so nothing was deleted`)
            return leadingTo('/dashboard?done=deleted', await actions.remove(tx, request))
          })
      })
  })

  /** The link is shown on this page only. A repeated submission leads to the page without it. */
  function showingLink(
    request: TeamRequest,
    reply: FastifyReply,
    { team, body: { email }, shownOnce: { token }, audit }: Awaited<ReturnType<typeof actions.invite>>
  ) {
    const url = new URL(`/invitations/accept?token=${token}`, baseUrl).href
    return {
      ...leadingTo(`/teams/${team.slug}?done=invited`, { status: 201, audit }),
      page: () => sendTeam(request, reply.code(200), { link: { email, url } })
    }
  }

  function refusal(request: TeamRequest, reply: FastifyReply, form: TeamForm) {
    return (problem: Problem) =>
      sendTeam(request, reply, { refused: { form, values: request.body as Record<string, unknown>, problem } })
  }

  async function sendTeam(
    request: TeamRequest,
    reply: FastifyReply,
    shown: Pick<TeamPage, 'link' | 'refused'>,
    cursor?: string
  ): Promise<FastifyReply> {
    const team = await teamOf(app, app.db, request, request.params.team)
    const [{ items: members, nextCursor: next }, places, installations, invitations, events] = await Promise.all([
      listMembers(app.db, team.id, { limit: MOST_MEMBERS, ...(cursor !== undefined && { cursor }) }),
      placesOf(app.db, team),
      listInstallations(app.db, team.id, { limit: MOST_INSTALLATIONS }),
      allows(team.role, PERMISSIONS.inviteMembers)
        ? listInvitations(app.db, team.id, { limit: MOST_INVITATIONS }).then(({ items }) => items)
        : null,
      allows(team.role, PERMISSIONS.viewAudit)
        ? listAudit(app.postgres.reads, { teamId: team.id }, { limit: LAST_EVENTS }).then(({ items }) => items)
        : null
    ])
    const page = {
      team,
      may: rightsOf(team.role),
      members,
      next,
      isLater: cursor !== undefined,
      places,
      installations: installations.items,
      hasGithub: app.hasDecorator('github'),
      invitations,
      events,
      ...shown
    }
    return sendPage(app, request, reply, teamPage(page), team.id)
  }

  async function sendDeletion(request: TeamRequest, reply: FastifyReply, error?: string): Promise<FastifyReply> {
    const team = await teamOf(app, app.db, request, request.params.team)
    const [{ members, invited }, reasons] = await Promise.all([
      placesOf(app.db, team),
      deletionBlockers(app.db, team.id)
    ])
    return sendPage(app, request, reply, deleteTeamPage({ team, members, invited, reasons, error }), team.id)
  }

  done()
}

function rightsOf(role: Role): TeamRights {
  const may = (permission: keyof typeof PERMISSIONS) => allows(role, PERMISSIONS[permission])
  return {
    inviteMembers: may('inviteMembers'),
    removeMembers: may('removeMembers'),
    renameTeam: may('renameTeam'),
    changeRoles: may('changeRoles'),
    manageInstallations: may('manageInstallations'),
    manageBilling: may('manageBilling'),
    transferTeam: may('transferTeam'),
    deleteTeam: may('deleteTeam'),
    removable: (['member', 'admin', 'owner'] as const).filter(held => allows(role, held))
  }
}

function namesIn({ name, slug }: { name: string; slug?: string }) {
  return { name, ...(slug !== undefined && { slug }) }
}

export default teamPages
