/** A secret as stored in its source. */
export interface Secret {
  readonly value: string
  /** Changes with the value, but reveals nothing about it. */
  readonly version: string
}

/** Where the values of secret variables come from. */
export interface SecretSource {
  /** As in `SECRETS_SOURCE`, without credentials; for messages. */
  readonly name: string
  /**
   * Reads the named secrets; the result omits those that the source does not have. Nothing is written to disk.
   * @throws SourceError when the source cannot be read; never returns part of a set
   */
  load(names: readonly string[]): Promise<Map<string, Secret>>
  /** Reports that something may have changed, as far as the source can tell; callers poll as well. */
  watch?(onChange: () => void): () => void
  /**
   * Replaces one secret. Absent for read-only sources.
   * @throws SourceError when the source refuses the write
   */
  store?(name: string, value: string): Promise<void>
  /** Releases what the source has lent, such as a session. */
  close?(): Promise<void>
}

/** A sentence that names the source and its problem, never a value. */
export class SourceError extends Error {
  override readonly name = 'SourceError'
}
