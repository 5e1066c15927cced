import type { Config } from '../../config/index.ts'
import type { Db } from '../../domain/base/db.ts'

export interface Rotated {
  readonly class: string
  readonly variable: string
  /** The value to set by hand if the source is read-only. */
  readonly set?: string
  /** How many running instances have it. */
  readonly held: number
  readonly running: number
}

/** What a class uses to introduce a new value and to remove the old one. */
export interface Rotating {
  readonly db: Db
  readonly config: Config
  readonly note: (text: string) => void
  /** Stores a value, and waits until all running instances have it. @throws CommandError if some do not in time */
  readonly bringIn: (value: string) => Promise<Rotated>
}
