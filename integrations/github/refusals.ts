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
        'This was not begun here',
        'It was begun at GitHub, in another browser or under another address, or is done already. Choose the team here, and connect it from there.'
      ),
    foreign: () =>
      refusal(
        'BAD_REQUEST',
        'This is not what was begun here',
        'Perhaps it was begun twice, in two tabs. If somebody has sent you the link that brought you here, do not trust it. Begin again.'
      ),
    late: () => refusal('BAD_REQUEST', 'That took too long', 'It has to be completed within minutes. Begin again.'),
    requested: () =>
      refusal(
        'CONFLICT',
        'The owners of the organization have to agree first',
        'GitHub has asked them to. When they have installed the App, connect the team again.'
      ),
    denied: () =>
      refusal(
        'FORBIDDEN',
        'You have declined at GitHub',
        'Without its word that the installation is yours, it cannot be connected.'
      ),
    nothing: () =>
      refusal('BAD_REQUEST', 'GitHub has named no installation', 'Begin again, and install the App on an account.'),
    notTheirs: () =>
      refusal(
        'FORBIDDEN',
        'This installation is not yours',
        'Only the owner of its account can connect an installation: yourself, or an owner of the organization.'
      ),
    staleCode: () =>
      refusal('BAD_REQUEST', 'GitHub does not know this visit', 'Its code was used before or is too old. Begin again.'),
    /** The operator must act, and finds the reason in the log. */
    misconfigured: (reason: string) =>
      refusal(
        'INTERNAL_ERROR',
        'Connecting with GitHub does not work at the moment',
        'The operators of this server have to mend its settings at GitHub.',
        new Error(`GitHub refused to connect: ${reason}`)
      )
  }
}
