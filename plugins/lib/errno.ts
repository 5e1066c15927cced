export function hasCode(error: unknown, ...codes: string[]): boolean {
  return codes.includes((error as NodeJS.ErrnoException).code ?? '')
}

/** For `promise.catch(...)`: these errno codes mean `null`, every other error is thrown on. */
export function nullIf(...codes: string[]): (error: unknown) => null {
  return error => {
    if (hasCode(error, ...codes)) return null
    throw error
  }
}
