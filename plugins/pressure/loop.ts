import type { Loop } from './dispatcher.ts'

/** The event loop of this process. */
export const loop: Loop = {
  now: () => performance.now(),
  idled: () => performance.nodeTiming.idleTime,
  afterTurn: setImmediate,
  // A tick runs before the promises of the callback that asked for it are settled; one asked for by a promise, after.
  afterTicks: callback => queueMicrotask(() => process.nextTick(callback))
}
