import { LinkedQueue } from '../lib/linked-queue.ts'
import { onReplied } from '../lib/response-head.ts'
import type { Dispatcher } from './dispatcher.ts'
import type { Ticket } from './tickets.ts'

/** How long work still counts after its client has left, in milliseconds. */
const GIVE_UP = 30_000

/** The started and measured requests. Their cost is learnt when they end. */
export class InFlight {
  readonly #dispatcher: Dispatcher
  readonly #tickets = new LinkedQueue<Ticket>()

  constructor(dispatcher: Dispatcher) {
    this.#dispatcher = dispatcher
  }

  add(ticket: Ticket): void {
    this.#tickets.push(ticket)
    this.#dispatcher.started(ticket, ticket.since)
    // When the work is done: `finish` and `close` come later, many at a time.
    onReplied(ticket.reply.raw, () => this.#dispatcher.replied(ticket, performance.now()))
  }

  /** A request has ended: its reply was sent or cut off. */
  complete(ticket: Ticket, status: number, now: number): void {
    if (!this.#tickets.remove(ticket)) return
    const { flow, meter, work, since, alongside, cpu } = ticket
    const { admission } = this.#dispatcher
    admission.took(now - since, work)
    // A request refused further in has not done the same work as the others.
    if (status < 400) {
      flow.learn(cpu)
      meter.took(now - since, Math.max(alongside, admission.inFlight), now)
    }
    this.#dispatcher.left(ticket)
  }

  /** Ends requests whose work is done, even if the client has left or reads the reply slowly. */
  sweep(now: number): void {
    for (let ticket = this.#tickets.first; ticket !== null; ) {
      const { reply, leftAt, next } = ticket
      if ((reply.raw.writableEnded || now - leftAt > GIVE_UP) && this.#tickets.remove(ticket))
        this.#dispatcher.left(ticket)
      ticket = next as Ticket | null
    }
  }
}
