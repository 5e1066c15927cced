import type { FastifyBaseLogger, FastifyServerOptions } from 'fastify'
import { type Logger, pino } from 'pino'
import { fieldsOf, kTrace, type TraceContext } from '../lib/trace-context.ts'

type ChildLoggerFactory = NonNullable<FastifyServerOptions['childLoggerFactory']>
export type ChildArguments = Parameters<FastifyBaseLogger['child']>

/** For Fastify's `setChildLoggerFactory`, when the app's logger is not one of ours. */
export const lazyChildren: ChildLoggerFactory = (logger, bindings, options) =>
  lazyChild(() => logger.child(bindings, options), logger, options)

/**
 * A child logger that is created on first use. Few requests log more than their one line, and creating a child costs
 * more than writing that line. Its lines name the trace that has been set for it, which begins after it was made.
 */
export function lazyChild(
  make: () => FastifyBaseLogger,
  parent: FastifyBaseLogger,
  options: ChildArguments[1]
): FastifyBaseLogger {
  return new LazyChild(make, parent, options) as unknown as FastifyBaseLogger
}

/** Answers for its level without creating the child. All other members of a pino logger come from the child. */
class LazyChild {
  /** What `setTrace` sets. */
  [kTrace]: TraceContext | undefined = undefined
  readonly #make: () => FastifyBaseLogger
  readonly #parent: FastifyBaseLogger
  readonly #options: ChildArguments[1]
  #made: FastifyBaseLogger | undefined
  #isNamed = false

  constructor(make: () => FastifyBaseLogger, parent: FastifyBaseLogger, options: ChildArguments[1]) {
    this.#make = make
    this.#parent = parent
    this.#options = options
  }

  get level(): string {
    return (this.#made ?? this.#options ?? this.#parent).level ?? this.#parent.level
  }

  set level(level: string) {
    LazyChild.childOf(this).level = level
  }

  isLevelEnabled(level: string): boolean {
    const sharesLevel = this.#made === undefined && this.#options?.level === undefined
    return ((sharesLevel ? this.#parent : LazyChild.childOf(this)) as Logger).isLevelEnabled(level)
  }

  static childOf(lazy: LazyChild): FastifyBaseLogger {
    lazy.#made ??= lazy.#make()
    if (lazy.#isNamed) return lazy.#made
    const { [kTrace]: trace } = lazy
    if (trace === undefined) return lazy.#made
    lazy.#isNamed = true
    lazy.#made = lazy.#made.child(fieldsOf(trace))
    return lazy.#made
  }

  static {
    const sample = pino({ level: 'silent' }, { write() {} })
    for (const key of membersOf(sample, Object.prototype)) {
      if (Object.hasOwn(LazyChild.prototype, key)) continue
      const isMethod = typeof Reflect.get(sample, key) === 'function'
      Object.defineProperty(LazyChild.prototype, key, isMethod ? methodOfChild(key) : valueOfChild(key))
    }
  }
}

/** A method, not a getter: Fastify looks whether each logger of a request has its methods, which must create nothing. */
function methodOfChild(key: PropertyKey): PropertyDescriptor {
  return {
    writable: true,
    value(this: LazyChild, ...given: unknown[]) {
      const child = LazyChild.childOf(this)
      return (Reflect.get(child, key) as (...given: unknown[]) => unknown).apply(child, given)
    }
  }
}

function valueOfChild(key: PropertyKey): PropertyDescriptor {
  return {
    get(this: LazyChild) {
      return Reflect.get(LazyChild.childOf(this), key)
    },
    set(this: LazyChild, value: unknown) {
      Reflect.set(LazyChild.childOf(this), key, value)
    }
  }
}

/** The names of an object's own members and those of its prototypes below `end`. */
function membersOf(object: object | null, end: object): PropertyKey[] {
  if (object === null || object === end) return []
  return [...Reflect.ownKeys(object), ...membersOf(Object.getPrototypeOf(object), end)]
}
