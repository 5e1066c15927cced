/** What a {@link Bag} can hold: an object in one bag at a time. */
export interface Member {
  /** Where the bag keeps it. */
  place: number
}

/**
 * Members in no particular order, each added and removed in constant time.
 *
 * A `Set` would keep those that have left: it replaces its table now and then, and a table that V8 has moved to the old
 * generation keeps everything in it, and all that this refers to, through every collection of young objects.
 */
export class Bag<T extends Member> {
  readonly #members: T[] = []

  get size(): number {
    return this.#members.length
  }

  add(member: T): void {
    member.place = this.#members.push(member) - 1
  }

  /** @param member must be in the bag */
  remove(member: T): void {
    const last = this.#members.pop()!
    if (last === member) return
    this.#members[member.place] = last
    last.place = member.place
  }

  /** A copy, so that the bag may change while it is read. */
  all(): T[] {
    return [...this.#members]
  }
}
