import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'

/**
 * The result of a step: undefined continues the request, an error fails it, and the reply means it has been answered. A
 * step that has to wait returns a promise of one of these, or a function that receives a callback. Unlike a promise,
 * the callback continues the request synchronously.
 */
export type Outcome = undefined | Error | FastifyReply
export type Later = (resume: (outcome: Outcome) => void) => void
export type EntryStep = (request: FastifyRequest, reply: FastifyReply) => Outcome | Later | Promise<Outcome>

const kSteps = Symbol('rhone.entry-steps')

/** The steps of the most recent entry hook; undefined if another hook has been added since. */
type WithSteps = FastifyInstance & { [kSteps]?: EntryStep[] | undefined }

/**
 * Adds a step that every request of this scope passes before anything else is done for it.
 *
 * Consecutive steps share one `onRequest` hook, because Fastify's overhead per hook exceeds the cost of most steps.
 * Steps and hooks run in the order they were added, as hooks alone would.
 */
export function onEntry(app: FastifyInstance, step: EntryStep): void {
  const scope: WithSteps = app
  // Not inherited steps: a plugin in a separate scope only affects that scope's requests.
  if (!Object.hasOwn(scope, kSteps) || scope[kSteps] === undefined) openEntry(scope)
  scope[kSteps]!.push(step)
}

function openEntry(scope: WithSteps): void {
  const steps: EntryStep[] = []
  if (!Object.hasOwn(scope, kSteps)) endEntryAtHooks(scope)
  scope.addHook('onRequest', (request, reply, next) => enter(steps, 0, request, reply, next))
  scope[kSteps] = steps
}

/** A hook added after a step must not run before it, so the next step starts a new shared hook. */
function endEntryAtHooks(scope: WithSteps): void {
  const addHook = scope.addHook as (...hook: unknown[]) => FastifyInstance
  scope.addHook = function (this: WithSteps, ...hook: unknown[]) {
    if (hook[0] === 'onRequest') this[kSteps] = undefined
    return addHook.apply(this, hook)
  } as FastifyInstance['addHook']
}

function enter(
  steps: readonly EntryStep[],
  from: number,
  request: FastifyRequest,
  reply: FastifyReply,
  next: (error?: Error) => void
): void {
  for (let at = from; at < steps.length; at++) {
    const outcome = steps[at]!(request, reply)
    if (outcome === undefined) continue
    const goOn = (late: Outcome) => {
      if (reply.sent || late === reply) return
      if (late === undefined) enter(steps, at + 1, request, reply, next)
      else fail(late as Error, request, reply, next)
    }
    if (typeof outcome === 'function') outcome(goOn)
    else if (outcome instanceof Promise) outcome.then(goOn).catch(next)
    else if (outcome !== reply) fail(outcome as Error, request, reply, next)
    return
  }
  next()
}

/** Answers some errors directly, which is cheaper than throwing them; returns false for all others. */
export type Refuse = (error: Error, request: FastifyRequest, reply: FastifyReply) => boolean

const kRefuse = Symbol('rhone.refuse')

/** Passes the errors of steps to `refuse` before Fastify sees them. */
export function onRefusal(app: FastifyInstance, refuse: Refuse): void {
  app.decorate(kRefuse, refuse)
}

function fail(error: Error, request: FastifyRequest, reply: FastifyReply, next: (error: Error) => void): void {
  const { [kRefuse]: refuse } = reply.server as FastifyInstance & { [kRefuse]?: Refuse }
  if (refuse === undefined || !refuse(error, request, reply)) next(error)
}
