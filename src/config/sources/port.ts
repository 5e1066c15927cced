/** One secret as its source holds it. */
export interface Secret {
  readonly value: string
  /** Changes with the value; reveals nothing about it. */
  readonly version: string
}

/** Where the values of secret variables come from. */
export interface SecretSource {
  /** As `SECRETS_SOURCE` names it, without credentials; for messages. */
  readonly name: string
  /**
   * Reads the named secrets; one that the source does not have is missing from the result. Nothing is kept on disk.
   *
   * @throws SourceError when the source cannot be read; never with part of a set
   */
  load(names: readonly string[]): Promise<Map<string, Secret>>
  /** Reports that something may have changed, at least once per change where it can; callers poll as well. */
  watch?(onChange: () => void): () => void
  /**
   * Replaces one secret. Missing where a source is read-only by nature.
   *
   * @throws SourceError when the source does not let us write
   */
  store?(name: string, value: string): Promise<void>
  /** Gives back what the source has lent, such as a session. */
  close?(): Promise<void>
}

/** A sentence that names the source and what is wrong with it, never a value. */
export class SourceError extends Error {
  override readonly name = 'SourceError'
}
