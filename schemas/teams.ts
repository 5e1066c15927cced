import { type Static, Type } from '@sinclair/typebox'
import { Slug } from './apps.ts'
import {
  adapted,
  CreatedAt,
  Headers,
  IdempotencyKey,
  IdOrSlug,
  IfMatch,
  IfNoneMatch,
  Name,
  NoContent,
  NoQuery,
  NotModified,
  OneOf,
  Page,
  PageQuery,
  Sent,
  Strict,
  Text,
  Uuid
} from './common.ts'
import { errorResponses } from './error.ts'

const ROLES = ['member', 'admin', 'owner'] as const

export const Team = Sent(
  {
    id: Uuid,
    name: Text('The display name.', 'hello'),
    slug: Text('The name in URLs.', 'hello'),
    plan: Text('The plan of the team.', 'free'),
    role: OneOf(ROLES, { description: "The caller's role in this team." }),
    version: Type.Integer({ description: 'Version of the team, incremented by each change.' }),
    createdAt: CreatedAt
  },
  { title: 'Team' }
)

export const TeamSlug = adapted(Slug, {
  description: "Names the team in URLs; unique across all teams. Absent: derived from the team's name."
})

export const NewTeam = Strict({ name: Name, slug: Type.Optional(TeamSlug) }, { title: 'NewTeam' })
export type NewTeam = Static<typeof NewTeam>

export const TeamPatch = Strict(
  { name: Type.Optional(Name), slug: Type.Optional(TeamSlug) },
  { title: 'TeamPatch', minProperties: 1 }
)

export const teamParams = Strict({ team: IdOrSlug })
export const changeHeaders = Headers({ 'idempotency-key': IdempotencyKey })
const ifMatch = Headers({ 'if-match': IfMatch, 'idempotency-key': IdempotencyKey })

export const listTeams = {
  operationId: 'listTeams',
  summary: 'List your teams',
  tags: ['teams'],
  querystring: Strict(PageQuery),
  response: { 200: Page(Team), ...errorResponses }
}

export const createTeam = {
  operationId: 'createTeam',
  summary: 'Create a team',
  description: 'You become its owner.',
  tags: ['teams'],
  headers: changeHeaders,
  querystring: NoQuery,
  body: NewTeam,
  response: { 201: Team, ...errorResponses }
}

export const getTeam = {
  operationId: 'getTeam',
  summary: 'Get one of your teams',
  tags: ['teams'],
  headers: Headers({ 'if-none-match': IfNoneMatch }),
  params: teamParams,
  querystring: NoQuery,
  response: { 200: Team, 304: NotModified, ...errorResponses }
}

export const updateTeam = {
  operationId: 'updateTeam',
  summary: 'Rename a team',
  tags: ['teams'],
  headers: ifMatch,
  params: teamParams,
  querystring: NoQuery,
  body: TeamPatch,
  response: { 200: Team, ...errorResponses }
}

export const deleteTeam = {
  operationId: 'deleteTeam',
  summary: 'Delete a team',
  description:
    'Also deletes its memberships and invitations. A team with apps or a subscription cannot be deleted (409): delete the apps and cancel the subscription first. Recorded usage and bills are kept.',
  tags: ['teams'],
  headers: ifMatch,
  params: teamParams,
  querystring: NoQuery,
  response: { 204: NoContent, ...errorResponses }
}

export const transferTeam = {
  operationId: 'transferTeam',
  summary: 'Transfer a team to another member',
  description: 'The other member becomes an owner and you become an admin, in one step.',
  tags: ['teams'],
  headers: changeHeaders,
  params: teamParams,
  querystring: NoQuery,
  body: Strict(
    { user: adapted(Uuid, { description: 'The member who becomes the owner.' }) },
    { title: 'TransferTeamRequest' }
  ),
  response: { 200: Team, ...errorResponses }
}
