/** What went wrong, in one line: the message of an error, and of what caused it where that says more. */
export function explain(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const message = error.message || String((error as NodeJS.ErrnoException).code ?? error.name)
  const cause = error.cause === undefined ? '' : explain(error.cause)
  return message.includes(cause) ? message : `${message}: ${cause}`
}
