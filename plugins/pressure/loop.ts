import type { LoopProbe } from './dispatcher.ts'

/** This process's event loop. */
export const loop: LoopProbe = {
  now: () => performance.now(),
  idled: () => performance.nodeTiming.idleTime,
  afterTurn: setImmediate,
  // A nextTick callback scheduled by a callback runs before that callback's promises settle; one scheduled by a
  // promise, after.
  afterTicks: callback => queueMicrotask(() => process.nextTick(callback))
}
