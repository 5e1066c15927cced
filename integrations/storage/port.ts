import type { Readable } from 'node:stream'

/** Stores objects, each written once and as a whole. Names are relative paths such as `a/b.json`. */
export interface Storage {
  /** The location for people, without credentials. */
  readonly description: string
  /**
   * Stores an object. Until this resolves, there is nothing under its name; after a failure neither.
   *
   * @param content held in memory only in pieces
   * @throws StorageError `exists` when the name is taken
   */
  put(name: string, content: Content, signal?: AbortSignal): Promise<Stored>
  /** @throws StorageError `missing`; the stream fails if the object ends early */
  get(name: string, signal?: AbortSignal): Promise<Readable>
  /** All objects whose names begin with `prefix`, in order of their names. */
  list(prefix: string, signal?: AbortSignal): Promise<StoredObject[]>
  /** Removes an object; a missing one is fine. */
  remove(name: string, signal?: AbortSignal): Promise<void>
  /** Removes the remains of interrupted writes that are older than a day. */
  tidy(signal?: AbortSignal): Promise<void>
}

export type Content = AsyncIterable<Uint8Array> | Iterable<Uint8Array>

export interface Stored {
  readonly bytes: number
  /** Hexadecimal, of the content as passed in. */
  readonly sha256: string
}

export interface StoredObject {
  readonly name: string
  readonly bytes: number
}

/**
 * - `missing`: there is no such object.
 * - `exists`: the name is taken.
 * - `denied`: the credentials do not allow it.
 * - `failed`: everything else, such as an outage or a full disk.
 */
export type StorageFailure = 'missing' | 'exists' | 'denied' | 'failed'

export class StorageError extends Error {
  override readonly name = 'StorageError'
  readonly failure: StorageFailure

  constructor(failure: StorageFailure, message: string, options?: ErrorOptions) {
    super(message, options)
    this.failure = failure
  }
}

const NAME = /^(?!.*(?:^|\/)\.{1,2}(?:\/|$))[A-Za-z0-9._-]+(?:\/[A-Za-z0-9._-]+)*$/

/** Names stay within the place and mean the same on every file system. */
export function checkName(name: string): string {
  if (!NAME.test(name)) throw new StorageError('failed', `"${name}" is not a valid object name`)
  return name
}
