export interface Conversions {
  parsers: Record<string, unknown>
  serializers: Record<string, unknown>
}

/** Runs statements, on a connection or in a transaction on it. */
export interface Runner {
  query(text: string, parameters: unknown[], asArrays: boolean): Promise<unknown>
}

export interface TransactionRunner extends Runner {
  /** Has COMMIT go with the next statement, which is to be the last: where it fails, nothing is committed. */
  commitWithNext(): void
  savepoint<T>(body: (inner: TransactionRunner) => Promise<T>): Promise<T>
}

/** A connection that a transaction has for itself. */
export interface ExclusiveConnection extends Runner {
  readonly closed: boolean
  destroy(): void
}

export interface PoolStats {
  /** Connections that an operation holds. */
  inUse: number
  idle: number
  /** Operations that wait for a connection. */
  waiting: number
}
