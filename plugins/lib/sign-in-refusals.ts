import { AppError, type ErrorCode } from './errors.ts'

/** Errors for failed sign-ins: they tell the user what happened and what to do. */
export function refusals(signInPage: string) {
  const action = { href: signInPage, label: 'Sign in again' }
  const refusal = (code: ErrorCode, message: string, detail: string, cause?: unknown) =>
    new AppError(code, { message, detail, cause, action })

  return {
    otherBrowser: () =>
      refusal(
        'BAD_REQUEST',
        'This sign-in was not begun here',
        'It was begun in another browser or under another address, has been completed already, or cookies are blocked. Begin again, and allow cookies for this site.'
      ),
    otherSignIn: () =>
      refusal(
        'BAD_REQUEST',
        'This is not the sign-in that was begun here',
        'Perhaps it was begun twice, in two tabs. If somebody has sent you the link that brought you here, do not trust it. Begin again.'
      ),
    tooLate: () =>
      refusal('BAD_REQUEST', 'The sign-in took too long', 'It has to be completed within minutes. Begin again.'),
    repeated: () => refusal('BAD_REQUEST', 'This sign-in has been used already', 'Each one works once. Begin again.'),
    denied: () =>
      refusal(
        'FORBIDDEN',
        'You have declined at GitHub',
        'Without its permission to see who you are, you cannot sign in with it.'
      ),
    /** @param settings the GitHub page for verifying email addresses */
    unverified: (settings: string) =>
      refusal(
        'FORBIDDEN',
        'Your e-mail address is not verified',
        `Your primary address at GitHub has to be verified. Do that at ${settings}, then sign in again.`
      ),
    staleCode: () =>
      refusal(
        'BAD_REQUEST',
        'GitHub does not know this sign-in',
        'Its code was used before or is too old. Begin again.'
      ),
    /** The operator has to act; the reason is in the log. */
    misconfigured: (reason: string) =>
      refusal(
        'INTERNAL_ERROR',
        'Signing in with GitHub does not work at the moment',
        'The operators of this server have to mend its settings at GitHub.',
        new Error(`GitHub refused a sign-in: ${reason}`)
      ),
    unreachable: (cause: unknown) =>
      new AppError('SERVICE_UNAVAILABLE', {
        message: 'GitHub does not answer',
        detail: 'Try again in a moment.',
        cause,
        action,
        headers: { 'retry-after': '10' }
      })
  }
}
