import {
  adapted,
  CreatedAt,
  IdOrSlug,
  NoContent,
  NoQuery,
  Nullable,
  OneOf,
  Page,
  PageQuery,
  Sent,
  Strict,
  Text,
  Uuid
} from './common.ts'
import { errorResponses } from './error.ts'
import { changeHeaders, teamParams } from './teams.ts'

export const Member = Sent(
  {
    id: Uuid,
    username: Text("The user's name.", 'ada'),
    avatarUrl: Nullable(Text('The URL of their picture.', 'https://avatars.githubusercontent.com/u/1')),
    role: OneOf(['member', 'admin', 'owner'], { description: 'The role in this team.' }),
    createdAt: CreatedAt
  },
  { title: 'Member' }
)

const params = Strict({ team: IdOrSlug, user: adapted(Uuid, { description: 'The UUID of the user.' }) })

export const listMembers = {
  operationId: 'listMembers',
  summary: 'List the members of a team',
  tags: ['teams'],
  params: teamParams,
  querystring: Strict(PageQuery),
  response: { 200: Page(Member), ...errorResponses }
}

export const updateMember = {
  operationId: 'updateMember',
  summary: "Change a member's role",
  description: 'Takes effect with the next request of the member. The last owner cannot be changed.',
  tags: ['teams'],
  headers: changeHeaders,
  params,
  querystring: NoQuery,
  body: Strict(
    { role: OneOf(['member', 'admin', 'owner'], { description: 'The new role.' }) },
    { title: 'UpdateMemberRequest' }
  ),
  response: { 200: Member, ...errorResponses }
}

export const removeMember = {
  operationId: 'removeMember',
  summary: 'Remove a member, or leave a team',
  description:
    'Members may leave, except the last owner. Admins may remove members and admins; owners may remove anybody. Pending invitations of the removed member are revoked.',
  tags: ['teams'],
  headers: changeHeaders,
  params,
  querystring: NoQuery,
  response: { 204: NoContent, ...errorResponses }
}
