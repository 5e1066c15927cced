export interface Conversions {
  parsers: Record<string, unknown>
  serializers: Record<string, unknown>
}

/** Runs statements on a connection, or in a transaction on one. */
export interface Runner {
  query(text: string, parameters: unknown[], asArrays: boolean): Promise<unknown>
}

export interface TransactionRunner extends Runner {
  /** Sends COMMIT with the next statement, which must be the last. If that statement fails, nothing is committed. */
  commitWithNext(): void
  savepoint<T>(body: (inner: TransactionRunner) => Promise<T>): Promise<T>
}

/** A connection reserved for one transaction. */
export interface ExclusiveConnection extends Runner {
  readonly closed: boolean
  /** Runs a statement that has neither parameters nor rows. */
  command(text: string): Promise<unknown>
  destroy(): void
}

export interface PoolStats {
  /** Connections held by operations. */
  inUse: number
  idle: number
  /** Operations waiting for a connection. */
  waiting: number
}
