import { redact } from '../lib/redact.ts'

/** Why an attempt was stopped before its work was done. */
export type EndReason = 'cancelled' | 'timeout' | 'lost' | 'stopping'

const WORDS: Readonly<Record<EndReason, string>> = {
  cancelled: 'the job was cancelled',
  timeout: 'the attempt timed out',
  lost: 'the job was reassigned to another instance',
  stopping: 'the server is stopping'
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

/** What is stored of an error for operators: one line, without what looks like a secret. The log has the rest. */
export function describeFailure(error: unknown): string {
  const line = textOf(error)
    .toWellFormed()
    .replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, ' ')
  return redact(line).trim().slice(0, MAX_LENGTH).toWellFormed()
}

/** Errors that are no `Error`, such as those of pg-boss, are objects with a message. */
function textOf(error: unknown): string {
  if (error instanceof Error) return error.message || error.name
  if (typeof error !== 'object' || error === null) return String(error)
  return 'message' in error && typeof error.message === 'string' ? error.message : JSON.stringify(error)
}

/** The same as an `Error`, which loggers can serialize. */
export function toError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : Object.assign(new Error(textOf(thrown)), { cause: thrown })
}
