/** Names an error by its code or type; its message may quote data. */
export function failureOf(error: unknown): string {
  if (!(error instanceof Error)) return typeof error
  const { code } = error as NodeJS.ErrnoException
  return typeof code === 'string' && /^[\w.-]{1,64}$/.test(code) ? code : (error.constructor?.name ?? 'Error')
}
