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
