/** Why an attempt was ended before its work was done. */
export type EndReason = 'cancelled' | 'timeout' | 'lost' | 'stopping'

const WORDS: Readonly<Record<EndReason, string>> = {
  cancelled: 'the job was cancelled',
  timeout: 'the attempt has taken too long',
  lost: 'the job was taken for lost and given to another instance',
  stopping: 'the server stops'
}

/** The reason of an aborted `JobContext.signal`. */
export class AttemptEnded extends Error {
  override readonly name = 'AttemptEnded'
  readonly reason: EndReason

  constructor(reason: EndReason) {
    super(WORDS[reason])
    this.reason = reason
  }
}

const MAX_LENGTH = 500
/** Credentials in a URL, what follows a scheme of authorization or a telling name, and tokens that say themselves what they are. */
const SECRETS = new RegExp(
  [
    String.raw`(?<=:\/\/)[^\s/]+(?=@)`,
    String.raw`(?<=\b(?:bearer|basic|token|flyv1)\s+)\S+`,
    String.raw`(?<=(?:token|password|secret|signature|key)=)[^\s&]+`,
    String.raw`\b(?:gh[a-z]_|github_pat_|rhone_|sk_|whsec_)\w+`
  ].join('|'),
  'gi'
)

/** What is kept of an error, to be shown to operators: one line, without what looks like a secret. The log has the rest. */
export function describeFailure(error: unknown): string {
  return textOf(error)
    .toWellFormed()
    .replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, ' ')
    .replace(SECRETS, '[redacted]')
    .trim()
    .slice(0, MAX_LENGTH)
    .toWellFormed()
}

/** An error of its own kind, as pg-boss has them, is an object with a message. */
function textOf(error: unknown): string {
  if (error instanceof Error) return error.message || error.name
  if (typeof error !== 'object' || error === null) return String(error)
  return 'message' in error && typeof error.message === 'string' ? error.message : JSON.stringify(error)
}

/** The same as an `Error`, which logs know how to write. */
export function toError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : Object.assign(new Error(textOf(thrown)), { cause: thrown })
}
