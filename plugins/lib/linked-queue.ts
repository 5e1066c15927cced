/** A member of a {@link LinkedQueue}; of only one at a time. */
export abstract class QueueEntry {
  previous: QueueEntry | null = null
  next: QueueEntry | null = null
  isQueued = false
}

/** First in, first out, with removal from the middle. Every operation takes constant time. */
export class LinkedQueue<T extends QueueEntry> {
  length = 0
  first: T | null = null
  #last: T | null = null

  push(entry: T): void {
    entry.isQueued = true
    entry.previous = this.#last
    if (this.#last === null) this.first = entry
    else this.#last.next = entry
    this.#last = entry
    this.length++
  }

  /** @returns whether it was queued */
  remove(entry: T): boolean {
    if (!entry.isQueued) return false
    const { previous, next } = entry as { previous: T | null; next: T | null }
    if (previous === null) this.first = next
    else previous.next = next
    if (next === null) this.#last = previous
    else next.previous = previous
    entry.isQueued = false
    entry.previous = entry.next = null
    this.length--
    return true
  }
}
