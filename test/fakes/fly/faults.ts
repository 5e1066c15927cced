/** Every call that can fail, by name. */
export type Operation =
  | `apps.${'create' | 'get' | 'list' | 'delete'}`
  | `machines.${'create' | 'list' | 'get' | 'update' | 'delete' | 'wait'}`
  | `machines.${'start' | 'stop' | 'restart' | 'signal' | 'cordon' | 'uncordon'}`
  | `machines.${'metadata' | 'lease' | 'events' | 'versions'}`
  | `graphql.${'app' | 'allocateIpAddress' | 'releaseIpAddress'}`
  | 'platform.regions'
  | 'logs'
  | 'prometheus'

/**
 * The kinds of faults:
 * - `fail`: the call is refused with a status, and has no effect
 * - `limit`: the call is refused with 429 and `Retry-After`
 * - `hangup`: the connection breaks before the call has an effect
 * - `hang`: the call has no effect and no answer
 * - `forget`: the call is answered as successful, but has no effect
 * - `lose`: the call takes effect, but the connection breaks before the answer
 */
export const FAULT_KINDS = ['fail', 'limit', 'hangup', 'hang', 'forget', 'lose'] as const
export type FaultKind = (typeof FAULT_KINDS)[number]

export interface Fault {
  kind: FaultKind
  /** The affected calls; absent: any. */
  operation?: Operation
  /** The number of affected calls; absent: one. */
  times?: number
  /** Of `fail`; absent: 500. */
  status?: number
  /** The text of the error; absent: one that fits the status. */
  error?: string
  /** Seconds, of `limit`; absent: 1. */
  retryAfter?: number
}

/** Random faults, the same ones for the same seed. */
export interface Chaos {
  seed: number
  /** From 0 to 1. */
  rate: number
  /** Absent: all of them. */
  kinds?: readonly FaultKind[]
}

/** Decides which calls fail: first by schedule, then by rules, then at random. */
export class Faults {
  #rules: { fault: Fault; left: number }[] = []
  #schedule: (FaultKind | null)[] = []
  #chaos: { settings: Chaos; random: () => number } | null = null

  add(fault: Fault): void {
    this.#rules.push({ fault, left: fault.times ?? 1 })
  }

  /** One entry for each of the next calls of any kind; null lets one pass. */
  schedule(entries: readonly (FaultKind | null)[]): void {
    this.#schedule = [...entries]
  }

  chaos(settings: Chaos | null): void {
    this.#chaos = settings && { settings, random: randomOf(settings.seed) }
  }

  clear(): void {
    this.#rules = []
    this.#schedule = []
    this.#chaos = null
  }

  next(operation: Operation): Fault | null {
    const scheduled = this.#schedule.shift()
    if (scheduled != null) return { kind: scheduled }
    const rule = this.#rules.find(({ fault, left }) => left > 0 && (fault.operation ?? operation) === operation)
    if (rule !== undefined) {
      rule.left -= 1
      return rule.fault
    }
    return this.#byChance()
  }

  #byChance(): Fault | null {
    if (this.#chaos === null) return null
    const { settings, random } = this.#chaos
    const kinds = settings.kinds ?? FAULT_KINDS
    const isStruck = random() < settings.rate
    const kind = kinds[Math.floor(random() * kinds.length)]
    return isStruck && kind !== undefined ? { kind } : null
  }
}

/** Mulberry32: small, fast and reproducible. */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}
