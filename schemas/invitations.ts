import { Type } from '@sinclair/typebox'
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
  Timestamp,
  Uuid
} from './common.ts'
import { errorResponses } from './error.ts'
import { changeHeaders, Team, teamParams } from './teams.ts'

const invitation = {
  id: Uuid,
  email: Text('An e-mail address.', 'ada@example.com'),
  role: Text('The role of the invited person.', 'member'),
  state: OneOf(['pending', 'accepted', 'revoked', 'expired'], { description: 'The state of the invitation.' }),
  invitedBy: Nullable(Text('The UUID of the user.', '0197a4b2-5d1c-7c3e-9a51-0c4f6e1b2d3a')),
  expiresAt: adapted(Timestamp, { description: 'When it expires.' }),
  createdAt: CreatedAt
}

export const Invitation = Sent(invitation, { title: 'Invitation' })

export const CreatedInvitation = Sent(
  {
    ...invitation,
    token: Type.Optional(
      Type.String({
        description:
          'The invited person accepts with it; do not share it with anybody else. Shown once: a reply repeated by Idempotency-Key omits it.',
        examples: ['5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9']
      })
    )
  },
  { title: 'CreatedInvitation' }
)

/** Addresses that mail servers accept, except rare forms: no quotes, comments or address literals. */
export const Email = Type.String({
  minLength: 3,
  maxLength: 254,
  pattern:
    "^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)+$",
  'x-form': 'an e-mail address',
  description: 'The address to invite.',
  examples: ['ada@example.com']
})

export const InvitationToken = Type.String({
  pattern: '^[0-9a-f]{64}$',
  'x-form': 'the token of the invitation: 64 hexadecimal digits',
  description: 'The token of the invitation.',
  examples: ['5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9']
})

export const listInvitations = {
  operationId: 'listInvitations',
  summary: 'List the invitations to a team',
  description: 'Finished ones are kept for 30 days.',
  tags: ['teams'],
  params: teamParams,
  querystring: Strict(PageQuery),
  response: { 200: Page(Invitation), ...errorResponses }
}

export const createInvitation = {
  operationId: 'createInvitation',
  summary: 'Invite a person to a team',
  description: "The invitation is valid for seven days. Until then it uses one of the places of the team's plan.",
  tags: ['teams'],
  headers: changeHeaders,
  params: teamParams,
  querystring: NoQuery,
  body: Strict(
    {
      email: Email,
      role: Type.Optional(OneOf(['member', 'admin'], { description: 'The role. Absent: member.' }))
    },
    { title: 'CreateInvitationRequest' }
  ),
  response: { 201: CreatedInvitation, ...errorResponses }
}

export const revokeInvitation = {
  operationId: 'revokeInvitation',
  summary: 'Revoke an invitation',
  tags: ['teams'],
  headers: changeHeaders,
  params: Strict({ team: IdOrSlug, id: Uuid }),
  querystring: NoQuery,
  response: { 204: NoContent, ...errorResponses }
}

export const acceptInvitation = {
  operationId: 'acceptInvitation',
  summary: 'Accept an invitation',
  description: 'Requires the invited e-mail address to be verified.',
  tags: ['teams'],
  headers: changeHeaders,
  querystring: NoQuery,
  body: Strict({ token: InvitationToken }, { title: 'AcceptInvitationRequest' }),
  response: { 200: Team, ...errorResponses }
}
