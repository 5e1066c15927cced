/** The reply of a handler, as data. */
export interface StoredReply {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: unknown
}

/** A stored reply. */
export interface KeptReply extends StoredReply {
  readonly subject: string | null
}

export interface Reply extends StoredReply {
  /** What the reply is about, to decide at a replay who may see it; for example the id of a team. */
  readonly subject?: string | null
  /** Stored instead of `body`, if that contains a secret shown only once. */
  readonly storedBody?: unknown
}
