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
        'This sign-in was not started in this browser',
        'It was started in another browser or under another address, is already complete, or cookies are blocked. Start again, and allow cookies for this site.'
      ),
    otherSignIn: () =>
      refusal(
        'BAD_REQUEST',
        'This is not the latest sign-in of this browser',
        'Perhaps it was started twice, in two tabs. If somebody sent you the link that brought you here, do not trust it. Start again.'
      ),
    tooLate: () =>
      refusal('BAD_REQUEST', 'The sign-in took too long', 'It must be completed within a few minutes. Start again.'),
    repeated: () => refusal('BAD_REQUEST', 'This sign-in was already used', 'Each one works once. Start again.'),
    denied: () =>
      refusal('FORBIDDEN', 'You declined at GitHub', 'To sign in with GitHub, allow this server to see who you are.'),
    /** @param settings the GitHub page for verifying email addresses */
    unverified: (settings: string) =>
      refusal(
        'FORBIDDEN',
        'Your e-mail address is not verified',
        `Verify your primary address at ${settings}, then sign in again.`
      ),
    staleCode: () =>
      refusal(
        'BAD_REQUEST',
        'GitHub does not recognize this sign-in',
        'Its code is expired or was already used. Start again.'
      ),
    /** The operator has to act; the reason is in the log. */
    misconfigured: (reason: string) =>
      refusal(
        'INTERNAL_ERROR',
        'Signing in with GitHub does not work at the moment',
        'The operators of this server must fix its settings at GitHub.',
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
