import { Type } from '@sinclair/typebox'
import { adapted, IdOrSlug, Name, OneOf, Strict, Uuid } from './common.ts'
import { Scope } from './me.ts'
import { FormBody, PageQuery, page, submission, Ticked } from './pages.ts'

/* Pages of an account, of billing, and of the general terms. */

const Id = Strict({ id: Uuid })
const query = PageQuery({})
/** Days; `never` is a separate choice, so that no one makes it by leaving a field empty. */
export const LIFETIMES = ['7', '30', '90', '365', 'never'] as const

const Secret = (description: string) =>
  Type.String({ minLength: 1, maxLength: 1_024, description, examples: ['kuro mizu tabi 9 feldspar'] })

export const settingsPage = page('getSettingsPage', 'Your account, sessions and tokens', { querystring: query })
export const newTokenPage = page('getNewTokenPage', 'The form for a new token', { querystring: query })
export const deleteAccountPage = page('getDeleteAccountPage', 'The confirmation page for deleting your account', {
  querystring: query
})

export const submitNewToken = submission('submitNewToken', 'Create an API token, from a page', {
  body: FormBody('NewTokenForm', {
    name: Name,
    scope: adapted(Scope, { description: 'Its scope, which includes all lower ones.' }),
    team: Type.Optional(
      adapted(IdOrSlug, { description: 'The only team that it can access. Absent: all your teams.' })
    ),
    lifetime: OneOf(LIFETIMES, { description: 'Days until it expires.' })
  })
})

export const submitTokenRevocation = submission('submitTokenRevocation', 'Revoke an API token, from a page', {
  params: Id,
  body: FormBody('TokenRevocationForm', {})
})

export const submitSessionEnd = submission('submitSessionEnd', 'End a session, from a page', {
  params: Id,
  body: FormBody('SessionEndForm', {})
})

export const submitSessionsEnd = submission('submitSessionsEnd', 'End all sessions, from a page', {
  body: FormBody('SessionsEndForm', { everywhere: Ticked })
})

export const submitPassword = submission('submitPassword', 'Change your password, from a page', {
  body: FormBody('PasswordForm', {
    currentPassword: Secret('The current password.'),
    newPassword: Secret('The new password.')
  })
})

export const submitAccountDeletion = submission('submitAccountDeletion', 'Delete your account, from a page', {
  body: FormBody('AccountDeletionForm', {
    confirm: Type.Optional(
      Type.String({ maxLength: 255, description: 'Your name, as a confirmation.', examples: ['ada'] })
    )
  })
})

export const billingPage = page('getBillingPage', 'The plan and the usage of a team', { querystring: query })
export const termsPage = page('getTermsPage', 'The terms of use', { querystring: query })
export const privacyPage = page('getPrivacyPage', 'The personal data that is stored, and for how long', {
  querystring: query
})
