import { AsyncLocalStorage } from 'node:async_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import type { PostgresTarget } from '../lib/postgres.ts'
import { type HostReport, HostWatch, type Position, STANDBY_TIMELINE } from '../lib/postgres-hosts.ts'
import type { PgConnection } from './connection.ts'
import type { Hosts } from './hosts.ts'
import type { ReadOutcome } from './metrics.ts'
import type { Pool } from './pool.ts'
import type { Work } from './shared-reads.ts'

/** What the reads of one request require of a replica. */
export interface Reading {
  /** The caller's last change, which every read must show; null: any state will do. */
  readonly position: Position | null
  /** Whether data of any age will do while there is no primary: for what anyone may read. */
  readonly mayBeOld: boolean
}

interface Surroundings {
  applicationName: string
  /** Seconds. */
  connectTimeout: number
  hosts: Hosts
  /** Of the primary. */
  primary: Pick<Pool, 'run' | 'read'>
  onRead: (outcome: ReadOutcome) => void
}

/** Milliseconds that all reads of a request wait for the replica to catch up, before the primary is asked. */
const LONGEST_WAIT = 200
const PAUSE = 10
/**
 * Maximum age in milliseconds of data that decides about access. Below five seconds, to leave time for the read itself.
 */
const LONGEST_AGE = 4_500
const INTERVAL = 1_000
const ANSWER_TIMEOUT = 700

const CHECK = `select pg_is_in_recovery() as "isStandby", ${STANDBY_TIMELINE} as timeline,
  (coalesce(pg_last_wal_replay_lsn(), '0/0') - '0/0'::pg_lsn)::text as lsn`

interface Checked {
  readonly isStandby: boolean
  readonly timeline: number
  readonly lsn: string
}

interface ReplicaSettings extends Surroundings {
  target: PostgresTarget
  /** Of the replica. */
  pool: Pool
}

/** @param url empty if there is no replica */
export function openReplica(
  url: string,
  {
    targetOf,
    poolFor,
    ...surroundings
  }: Surroundings & { targetOf: (url: string) => PostgresTarget; poolFor: (target: PostgresTarget) => Pool }
): Replica | undefined {
  if (url === '') return undefined
  const target = targetOf(url)
  return new Replica({ ...surroundings, target, pool: poolFor(target) })
}

interface Context extends Reading {
  /** Milliseconds left to wait. */
  patience: number
}

/**
 * Sends reads to the nearest standby if it has everything they must show: the caller's own last change, and all changes
 * up to a few seconds ago. The check runs on the reading connection, in the same packet as the read, which cannot see
 * less. Otherwise the primary answers.
 */
export class Replica {
  readonly #settings: ReplicaSettings
  readonly #watch: HostWatch
  readonly #readings = new AsyncLocalStorage<Context>()
  readonly #timer: NodeJS.Timeout
  #latest: HostReport | undefined

  constructor(settings: ReplicaSettings) {
    this.#settings = settings
    this.#watch = new HostWatch(settings.target, settings)
    this.#timer = setInterval(() => void this.#look(), INTERVAL).unref()
    void this.#look()
  }

  /** Whether it answered the last time it was asked. */
  get isReachable(): boolean {
    return this.#latest?.state !== undefined
  }

  /** Whether it has been promoted, and is the primary itself. */
  get isPrimary(): boolean {
    const [own, primary] = [this.#latest?.state, this.#settings.hosts.primary]
    return own !== undefined && own.system === primary?.system && own.startedAt === primary.startedAt
  }

  /** Runs `body`. The replica may answer the reads in it and in everything it starts. */
  within(reading: Reading, body: () => void): void {
    this.#readings.run({ ...reading, patience: LONGEST_WAIT }, body)
  }

  run<T>(work: Work<T>): Promise<T> {
    return this.#settings.primary.run(work)
  }

  async read<T>(work: Work<T>): Promise<T> {
    const { primary, pool, onRead } = this.#settings
    const context = this.#readings.getStore()
    const needed = context && this.#neededBy(context)
    if (context === undefined || needed === undefined || this.isPrimary) {
      onRead('primary')
      return primary.read(work)
    }
    try {
      const rows = await pool.run(connection => readOn(connection, work, needed, context))
      onRead(rows === BEHIND ? 'behind' : 'replica')
      if (rows !== BEHIND) return rows
    } catch {
      // A read may run twice. If the read itself is at fault, the primary says so.
      onRead('failed')
    }
    return primary.read(work)
  }

  retarget(target: PostgresTarget): void {
    this.#watch.retarget(target)
    this.#settings.pool.retarget(target)
  }

  async end(timeoutSeconds: number): Promise<void> {
    clearInterval(this.#timer)
    this.#watch.close()
    await this.#settings.pool.end(timeoutSeconds)
  }

  /**
   * The position a replica must have reached; undefined if none may answer because the primary has been silent too
   * long.
   */
  #neededBy({ position, mayBeOld }: Context): Position | undefined {
    const { hosts } = this.#settings
    const recent = hosts.markWithin(LONGEST_AGE)
    if (recent === undefined) return mayBeOld && hosts.primary === undefined ? ANY : undefined
    if (position === null) return recent
    return {
      timeline: Math.max(position.timeline, recent.timeline),
      lsn: position.lsn > recent.lsn ? position.lsn : recent.lsn
    }
  }

  async #look(): Promise<void> {
    this.#latest = await this.#watch.ask(ANSWER_TIMEOUT)
  }
}

const ANY: Position = { timeline: 0, lsn: 0n }
const BEHIND = Symbol('behind')

async function readOn<T>(
  connection: PgConnection,
  work: Work<T>,
  needed: Position,
  context: Context
): Promise<T | typeof BEHIND> {
  // Behind a pooler, the next statement may run on another server.
  if (connection.isPooled) return BEHIND
  const startedAt = performance.now()
  const check = connection.query(CHECK, [], false)
  const rows = work(connection)
  rows.catch(() => {})
  if (has((await check) as Checked[], needed)) return rows

  await rows.catch(() => {})
  let hasCaughtUp = false
  while (!hasCaughtUp && performance.now() - startedAt < context.patience) {
    await delay(PAUSE)
    hasCaughtUp = has((await connection.query(CHECK, [], false)) as Checked[], needed)
  }
  context.patience = Math.max(0, context.patience - (performance.now() - startedAt))
  return hasCaughtUp ? work(connection) : BEHIND
}

function has([found]: readonly Checked[], needed: Position): boolean {
  return found!.isStandby && found!.timeline >= needed.timeline && BigInt(found!.lsn) >= needed.lsn
}
