export function hasCode(error: unknown, ...codes: string[]): boolean {
  return codes.includes((error as NodeJS.ErrnoException).code ?? '')
}

/** For `promise.catch(...)`: maps these errno codes to `null` and rethrows every other error. */
export function nullIf(...codes: string[]): (error: unknown) => null {
  return error => {
    if (hasCode(error, ...codes)) return null
    throw error
  }
}

/** Whether an error says only that no file descriptor was left: the next attempt may succeed. */
export const isDescriptorShortage = (error: unknown): boolean =>
  error instanceof Error && hasCode(error, 'EMFILE', 'ENFILE')
