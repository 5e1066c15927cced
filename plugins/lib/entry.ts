import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'

/**
 * What a step makes of a request: nothing lets it go on, an error fails it, the reply itself says that it has been
 * answered. A step that has to wait gives a promise of one of these.
 */
export type Outcome = undefined | Error | FastifyReply
export type EntryStep = (request: FastifyRequest, reply: FastifyReply) => Outcome | Promise<Outcome>

const kSteps = Symbol('rhone.entry-steps')

/** Those of the hook that was added last; undefined when somebody else has added one since. */
type WithSteps = FastifyInstance & { [kSteps]?: EntryStep[] | undefined }

/**
 * Adds a step to those that every request of this scope goes through before anything else is done for it.
 *
 * Steps that are added one after another share one `onRequest` hook: Fastify's way from hook to hook costs more than most
 * of these steps do. Steps and hooks run in the order in which they were added, as hooks alone would.
 */
export function onEntry(app: FastifyInstance, step: EntryStep): void {
  const scope: WithSteps = app
  // Not the inherited ones: a plugin in a scope of its own concerns the requests of that scope alone.
  if (!Object.hasOwn(scope, kSteps) || scope[kSteps] === undefined) openEntry(scope)
  scope[kSteps]!.push(step)
}

function openEntry(scope: WithSteps): void {
  const steps: EntryStep[] = []
  if (!Object.hasOwn(scope, kSteps)) endEntryAtHooks(scope)
  scope.addHook('onRequest', (request, reply, next) => enter(steps, 0, request, reply, next))
  scope[kSteps] = steps
}

/** A hook that is added after a step must not run before it, so the step that follows begins a hook of its own. */
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
    if (outcome instanceof Promise) wait(outcome, steps, at + 1, request, reply, next)
    else if (outcome !== reply) fail(outcome as Error, request, reply, next)
    return
  }
  next()
}

/** Answers some errors at once, for less than it costs to throw them; false for all others. */
export type Refuse = (error: Error, request: FastifyRequest, reply: FastifyReply) => boolean

const kRefuse = Symbol('rhone.refuse')

/** Lets `refuse` see the errors of steps before Fastify does. */
export function onRefusal(app: FastifyInstance, refuse: Refuse): void {
  app.decorate(kRefuse, refuse)
}

function fail(error: Error, request: FastifyRequest, reply: FastifyReply, next: (error: Error) => void): void {
  const { [kRefuse]: refuse } = reply.server as FastifyInstance & { [kRefuse]?: Refuse }
  if (refuse === undefined || !refuse(error, request, reply)) next(error)
}

function wait(
  outcome: Promise<Outcome>,
  steps: readonly EntryStep[],
  from: number,
  request: FastifyRequest,
  reply: FastifyReply,
  next: (error?: Error) => void
): void {
  outcome
    .then(late => {
      if (reply.sent || late === reply) return
      if (late === undefined) enter(steps, from, request, reply, next)
      else fail(late as Error, request, reply, next)
    })
    .catch(next)
}
