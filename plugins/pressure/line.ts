/** A place in a {@link Line}; at most one at a time. */
export abstract class Place {
  before: Place | null = null
  after: Place | null = null
  isTaken = false
}

/** First come, first served; whoever stands in it may leave from anywhere. All of it in constant time. */
export class Line<T extends Place> {
  length = 0
  first: T | null = null
  #last: T | null = null

  join(newcomer: T): void {
    newcomer.isTaken = true
    newcomer.before = this.#last
    if (this.#last === null) this.first = newcomer
    else this.#last.after = newcomer
    this.#last = newcomer
    this.length++
  }

  /** @returns whether it stood there */
  leave(member: T): boolean {
    if (!member.isTaken) return false
    const { before, after } = member as { before: T | null; after: T | null }
    if (before === null) this.first = after
    else before.after = after
    if (after === null) this.#last = before
    else after.before = before
    member.isTaken = false
    member.before = member.after = null
    this.length--
    return true
  }
}
