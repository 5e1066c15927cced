/** The reply of a handler, as data. */
export interface StoredReply {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: unknown
}

/** A reply that was kept. */
export interface KeptReply extends StoredReply {
  readonly subject: string | null
}

export interface Reply extends StoredReply {
  /** What the reply is about, for whoever decides at a replay who may see it: the id of a team, say. */
  readonly subject?: string | null
  /** Kept instead of `body`, when that holds a secret which is shown only once. */
  readonly storedBody?: unknown
}
