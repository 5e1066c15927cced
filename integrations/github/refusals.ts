import { AppError, type ErrorCode } from '../../plugins/lib/errors.ts'

/** Messages for people whose team could not be connected: what happened, and what to do. */
export function refusals(page: string) {
  const action = { href: page, label: 'Go back' }
  const refusal = (code: ErrorCode, message: string, detail: string, cause?: unknown) =>
    new AppError(code, { message, detail, cause, action })

  return {
    absent: () =>
      refusal(
        'BAD_REQUEST',
        'This was not started in this browser',
        'It was started at GitHub, in another browser or under another address, or is already complete. Choose the team here, and connect it from its page.'
      ),
    foreign: () =>
      refusal(
        'BAD_REQUEST',
        'This is not the latest attempt of this browser',
        'Perhaps it was started twice, in two tabs. If somebody sent you the link that brought you here, do not trust it. Start again.'
      ),
    late: () => refusal('BAD_REQUEST', 'This took too long', 'It must be completed within a few minutes. Start again.'),
    requested: () =>
      refusal(
        'CONFLICT',
        'An owner of the organization must approve first',
        'GitHub has asked the owners. After they have installed the App, connect the team again.'
      ),
    denied: () =>
      refusal(
        'FORBIDDEN',
        'You declined at GitHub',
        'To connect an installation, allow this server to see that it is yours.'
      ),
    nothing: () =>
      refusal('BAD_REQUEST', 'GitHub did not name an installation', 'Start again, and install the App on an account.'),
    notTheirs: () =>
      refusal(
        'FORBIDDEN',
        'This installation is not yours',
        'Only the owner of the account, or an owner of the organization, can connect it.'
      ),
    staleCode: () =>
      refusal(
        'BAD_REQUEST',
        'GitHub does not recognize this visit',
        'Its code is expired or was already used. Start again.'
      ),
    /** The operator must act, and finds the reason in the log. */
    misconfigured: (reason: string) =>
      refusal(
        'INTERNAL_ERROR',
        'Connecting with GitHub does not work at the moment',
        'The operators of this server must fix its settings at GitHub.',
        new Error(`GitHub refused to connect: ${reason}`)
      )
  }
}
