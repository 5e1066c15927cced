import { randomUUID } from 'node:crypto'
import type { FastifyInstance, FastifyReply, FastifyRequest, preValidationHookHandler } from 'fastify'
import { errors } from '../../plugins/lib/errors.ts'
import { preferred } from '../../plugins/lib/negotiate.ts'
import { pageNonce } from '../../plugins/lib/notice-page.ts'
import { findTeam } from '../../src/domain/teams/access.ts'
import { listTeams } from '../../src/domain/teams/teams.ts'
import type { PageContext, SoloView, TeamLink, Theme, View } from '../../views/context.ts'
import { shellPage, soloPage } from '../../views/shell.ts'
import { callerOf } from './access.ts'

/** More would not fit into a switcher. */
const MOST_TEAMS = 200
const THEME = /(?:^|;\s*)rhone_theme=(light|dark)(?:;|$)/

/**
 * Sends a page in the shell to a signed-in user.
 * @param teamId the page's team; default: the viewer's first one
 */
export async function sendPage(
  app: FastifyInstance,
  request: FastifyRequest,
  reply: FastifyReply,
  view: View,
  teamId?: string
): Promise<FastifyReply> {
  const teams = await teamsOf(app, request)
  const team = teams.find(({ id }) => id === teamId) ?? (teamId === undefined ? teams[0] : undefined)
  const context = { ...contextOf(app, request, reply), teams, team }
  return send(reply, shellPage(context, view(context)))
}

/** Sends a standalone page to anyone. */
export function sendSolo(
  app: FastifyInstance,
  request: FastifyRequest,
  reply: FastifyReply,
  view: SoloView
): FastifyReply {
  const context = contextOf(app, request, reply)
  return send(reply, soloPage(context, view(context)))
}

function send(reply: FastifyReply, markup: string): FastifyReply {
  return reply.type('text/html; charset=utf-8').send(markup)
}

/** The team in `?team=`, if the viewer is a member, else the viewer's first one; undefined when there is none. */
export async function teamInUrl(
  app: FastifyInstance,
  request: FastifyRequest<{ Querystring: { team?: string } }>
): Promise<TeamLink | undefined> {
  const { team } = request.query
  const { userId, teamId: only } = callerOf(request)
  const teams = await teamsOf(app, request)
  if (team === undefined) return teams[0]
  const member = teams.find(({ id, slug }) => id === team || slug === team)
  if (member === undefined && only !== undefined) throw errors.notFound('team')
  return member ?? findTeam(app.db, userId, team)
}

/** The caller's team of that name, else the first one; for forms with a choice of team. */
export async function teamNamed(app: FastifyInstance, request: FastifyRequest, slug: string | undefined) {
  const teams = await teamsOf(app, request)
  return { teams, team: teams.find(team => team.slug === slug) ?? teams[0] }
}

/**
 * Whether the client wants the page, on a URL that also answers programs with JSON. For routes with
 * `config.page: 'shared'`.
 */
export function wantsPage(request: FastifyRequest, reply: FastifyReply): boolean {
  reply.header('vary', 'Accept')
  return prefersMarkup(request) && request.server.hasDecorator('assets')
}

function prefersMarkup({ headers }: FastifyRequest): boolean {
  return preferred(headers.accept, ['application/json', 'text/html']) === 'text/html'
}

/** GET forms also send fields that were left empty. For routes with `config.page: 'shared'`. */
export const dropEmpty: preValidationHookHandler = (request, _reply, done) => {
  const query = request.query as Record<string, unknown>
  if (prefersMarkup(request)) for (const name of Object.keys(query)) if (query[name] === '') delete query[name]
  done()
}

/** Read once per request: the switcher and the handler need the same teams. */
const found = new WeakMap<FastifyRequest, Promise<TeamLink[]>>()

function teamsOf(app: FastifyInstance, request: FastifyRequest): Promise<TeamLink[]> {
  let teams = found.get(request)
  if (teams === undefined) {
    teams = readTeams(app, request)
    found.set(request, teams)
  }
  return teams
}

async function readTeams(app: FastifyInstance, request: FastifyRequest): Promise<TeamLink[]> {
  const { userId, teamId: only } = callerOf(request)
  const { items } = await listTeams(app.db, userId, { limit: MOST_TEAMS })
  const visible = only === undefined ? items : items.filter(({ id }) => id === only)
  return visible.toSorted((one, other) => one.name.localeCompare(other.name, 'en'))
}

function contextOf(app: FastifyInstance, request: FastifyRequest, reply: FastifyReply): PageContext {
  const { principal, url } = request
  const path = url.split('?', 1)[0]!
  const { done } = request.query as { done?: string }
  const state = app.maintenance?.state
  let token: string | undefined
  return {
    nonce: pageNonce(app, reply),
    asset: app.assets.href,
    path,
    url,
    theme: THEME.exec(request.headers.cookie ?? '')?.[1] as Theme | undefined,
    viewer: principal && { id: principal.userId, username: principal.username, isOperator: principal.isOperator },
    teams: [],
    team: undefined,
    done,
    // One for all forms: it costs a signature, and for visitors a cookie.
    csrf: () => (token ??= app.csrf.token(request, reply)),
    submission: randomUUID,
    closed: state?.enabled ? (state.message ?? '') : null,
    now: new Date()
  }
}
