/** The reply of a handler, as data. */
export interface StoredReply {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: unknown
}

export interface Reply extends StoredReply {
  /** Kept instead of `body`, when that holds a secret which is shown only once. */
  readonly storedBody?: unknown
}
