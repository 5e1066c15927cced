import type { Config } from '../../config/index.ts'
import type { Db } from '../../domain/base/db.ts'

export interface Rotated {
  readonly class: string
  readonly variable: string
  /** The value to set by hand, where the source cannot be written to. */
  readonly set?: string
  /** How many of the running instances have it. */
  readonly held: number
  readonly running: number
}

/** What a class needs to bring in a new value and to take the old one out. */
export interface Rotating {
  readonly db: Db
  readonly config: Config
  readonly note: (text: string) => void
  /** Stores a value, and waits until all that run have it. @throws CommandError if not all have in time */
  readonly bringIn: (value: string) => Promise<Rotated>
}
