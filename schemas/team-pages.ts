import { Type } from '@sinclair/typebox'
import { Cursor, Done, IdOrSlug, Name, OneOf, Strict, Uuid } from './common.ts'
import { Email, InvitationToken } from './invitations.ts'
import { FormBody, PageQuery, page, submission } from './pages.ts'
import { TeamSlug } from './teams.ts'

const params = Strict({ team: IdOrSlug })
const memberParams = Strict({ team: IdOrSlug, user: Uuid })
const invitationParams = Strict({ team: IdOrSlug, id: Uuid })
const names = { name: Name, slug: Type.Optional(TeamSlug) }

export const newTeam = page('getNewTeamPage', 'The form for a new team', { querystring: PageQuery({}) })

export const submitNewTeam = submission('submitNewTeam', 'Create a team from the form', {
  body: FormBody('NewTeamForm', names)
})

export const team = page('getTeamPage', 'The members and settings of a team', {
  params,
  querystring: Strict({ cursor: Type.Optional(Cursor), done: Done })
})

export const submitTeam = submission('submitTeam', 'Rename a team, from a page', {
  params,
  body: FormBody('TeamForm', names)
})

export const submitInvitation = submission('submitInvitation', 'Invite a person, from a page', {
  params,
  body: FormBody('InvitationForm', {
    email: Email,
    role: Type.Optional(OneOf(['member', 'admin'], { description: 'The role. Absent: member.' }))
  })
})

export const submitInvitationAgain = submission('submitInvitationAgain', 'Create a new link for an invitation', {
  params: invitationParams,
  body: FormBody('InvitationAgainForm', {})
})

export const submitDisconnection = submission('submitDisconnection', 'Disconnect a GitHub account, from a page', {
  params: invitationParams,
  body: FormBody('DisconnectionForm', {})
})

export const submitRevocation = submission('submitRevocation', 'Revoke an invitation, from a page', {
  params: invitationParams,
  body: FormBody('RevocationForm', {})
})

export const submitMemberRole = submission('submitMemberRole', "Change a member's role, from a page", {
  params: memberParams,
  body: FormBody('MemberRoleForm', {
    role: OneOf(['member', 'admin', 'owner'], { description: 'The new role.' })
  })
})

export const submitRemoval = submission('submitRemoval', 'Remove a member or leave a team, from a page', {
  params: memberParams,
  body: FormBody('RemovalForm', {})
})

export const submitTransfer = submission('submitTransfer', 'Transfer a team to another member, from a page', {
  params,
  body: FormBody('TransferForm', { user: Uuid })
})

export const deleteTeam = page('getDeleteTeamPage', 'The confirmation page for deleting a team', {
  params,
  querystring: Strict({ done: Done })
})

export const submitTeamDeletion = submission('submitTeamDeletion', 'Delete a team, from a page', {
  params,
  body: FormBody('TeamDeletionForm', {
    confirm: Type.Optional(
      Type.String({ maxLength: 255, description: 'The slug, as a confirmation.', examples: ['acme'] })
    )
  })
})

export const invitation = page('getInvitationPage', 'An invitation', {
  querystring: PageQuery({ token: Type.Optional(InvitationToken) })
})

export const submitInvitationAnswer = submission('submitInvitationAnswer', 'Read, accept or decline an invitation', {
  body: FormBody('InvitationAnswerForm', {
    token: InvitationToken,
    answer: Type.Optional(
      OneOf(['accept', 'decline'], { description: 'Absent: the invitation is shown, and nothing changes.' })
    )
  })
})
