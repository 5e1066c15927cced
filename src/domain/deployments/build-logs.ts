import { setTimeout as delay } from 'node:timers/promises'
import { and, asc, eq, gt, sql } from 'drizzle-orm'
import { buildLogChunks, type DeploymentStatus, deployments } from '../../../drizzle/schema.ts'
import { errors } from '../../../plugins/lib/errors.ts'
import { type Db, repeatableRead, violatedConstraint } from '../base/db.ts'
import { cutText, PlainTextDecoder, plainText } from '../base/log-text.ts'
import { cutPage, invalidCursor, type Page, type PageRequest, parseNameCursor } from '../base/page.ts'
import { Redactor } from '../base/redaction.ts'
import { isUuid } from '../base/slug.ts'
import { isActive } from './lifecycle.ts'

/** NOTIFY channel; the payload is the id of a deployment whose log has grown. */
export const BUILD_LOG_CHANNEL = 'rhone_build_log'

/** UTF-16 units per chunk, and milliseconds after which a smaller chunk is written. */
const CHUNK = 8_192
const FLUSH_INTERVAL = 200
/** Chunks per statement. */
const BATCH = 32
const MAX_LENGTH = 4 * 1_024 * 1_024
const MAX_PAUSE = 5_000
const DEFAULT_LIMIT = 100
/** Clients may send any position; PostgreSQL counts in 32 bits. */
const MAX_SEQ = 2 ** 31 - 1

export interface BuildLogOptions {
  /** Values to mask from the start. */
  hidden?: Iterable<string>
  /** The deployment's current status. */
  phase?: DeploymentStatus
  /** UTF-16 units kept per deployment, over all attempts. */
  maxLength?: number
  /** How long `close` waits for an unavailable database, in milliseconds. */
  patience?: number
}

export interface BuildLog {
  /** Takes program output in parts, cut anywhere, and masks secrets in it. Never waits or fails. */
  say(text: string): void
  /** Takes a line of the platform itself, which contains no secrets and is not masked. */
  note(line: string): void
  /** Masks a value from now on. */
  hide(secret: string): void
  /** Sets the status that later output belongs to. */
  enter(phase: DeploymentStatus): void
  /** Settles when everything is written, or cannot be. Later output is lost. */
  close(): Promise<void>
}

/**
 * The log of an active deployment: plain text without secrets, in chunks that readers see a moment later. An attempt
 * after a crash continues where the previous one stopped.
 */
export function createBuildLog(db: Db, deploymentId: string, options: BuildLogOptions = {}): BuildLog {
  return new BuildLogWriter(db, deploymentId, options)
}

interface Chunk {
  readonly phase: DeploymentStatus
  readonly text: string
}

class BuildLogWriter implements BuildLog {
  readonly #db: Db
  readonly #deploymentId: string
  readonly #maxLength: number
  readonly #patience: number
  readonly #decoder = new PlainTextDecoder()
  readonly #redactor = new Redactor()
  #phase: DeploymentStatus
  /** Output that is not processed yet: large pieces cost less than many small ones. */
  #unread = ''
  #text = ''
  #waiting: Chunk[] = []
  #length = 0
  #isCut = false
  #knowsEarlier = false
  #timer: NodeJS.Timeout | undefined
  #writing: Promise<void> | undefined
  #isClosed = false
  #giveUpAt = Number.POSITIVE_INFINITY

  constructor(db: Db, deploymentId: string, options: BuildLogOptions) {
    this.#db = db
    this.#deploymentId = deploymentId
    this.#phase = options.phase ?? 'pending'
    this.#maxLength = options.maxLength ?? MAX_LENGTH
    this.#patience = options.patience ?? 10_000
    for (const secret of options.hidden ?? []) this.hide(secret)
  }

  say(text: string): void {
    if (this.#isClosed || this.#isCut) return
    this.#unread += text
    if (this.#unread.length >= CHUNK) this.#read()
    this.#flushSoon()
  }

  note(line: string): void {
    if (this.#isClosed) return
    this.#readAll()
    this.#keep(plainText(line))
  }

  hide(secret: string): void {
    this.#redactor.hide(secret)
  }

  enter(phase: DeploymentStatus): void {
    this.#read()
    this.#flush()
    this.#phase = phase
  }

  async close(): Promise<void> {
    if (!this.#isClosed) {
      this.#isClosed = true
      this.#giveUpAt = performance.now() + this.#patience
      this.#readAll()
      this.#flush()
    }
    await this.#writing
  }

  #read(): void {
    const unread = this.#unread
    this.#unread = ''
    if (unread !== '') this.#keep(this.#redactor.redact(this.#decoder.decode(unread)))
  }

  /** Includes text that was held back for a possible continuation. */
  #readAll(): void {
    this.#read()
    this.#keep(this.#redactor.redact(this.#decoder.end()) + this.#redactor.end())
  }

  #keep(text: string): void {
    if (this.#isCut || text === '') return
    this.#isCut = this.#length + text.length > this.#maxLength
    this.#text += this.#isCut ? this.#cut(text, this.#maxLength - this.#length) : text
    this.#length += text.length
    if (this.#text.length >= CHUNK) this.#flush()
    else this.#flushSoon()
  }

  #flushSoon(): void {
    this.#timer ??= setTimeout(() => {
      this.#read()
      this.#flush()
    }, FLUSH_INTERVAL).unref()
  }

  #cut(text: string, room: number): string {
    return `${cutText(text, room)}\n(The log was cut off here: a deployment may log at most ${this.#maxLength} characters.)\n`
  }

  #flush(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    for (let rest = this.#text; rest !== ''; ) {
      const text = cutText(rest, CHUNK)
      this.#waiting.push({ phase: this.#phase, text })
      rest = rest.slice(text.length)
    }
    this.#text = ''
    if (this.#waiting.length > 0) this.#writing ??= this.#write().finally(() => this.#onWritten())
  }

  #onWritten(): void {
    this.#writing = undefined
  }

  async #write(): Promise<void> {
    for (let failures = 0; this.#waiting.length > 0; ) {
      try {
        await this.#learnEarlier()
        const batch = this.#waiting.slice(0, BATCH)
        await insertChunks(this.#db, this.#deploymentId, batch, failures > 0)
        this.#waiting.splice(0, batch.length)
        failures = 0
      } catch (error) {
        if (isGone(error) || performance.now() > this.#giveUpAt) return this.#abandon()
        // The database is unavailable, which is reported elsewhere.
        await delay(Math.min(MAX_PAUSE, FLUSH_INTERVAL * 2 ** failures++), undefined, { ref: false })
      }
    }
  }

  /** Output of earlier attempts counts too, and may leave less room than assumed. */
  async #learnEarlier(): Promise<void> {
    if (this.#knowsEarlier) return
    const earlier = await lengthOf(this.#db, this.#deploymentId)
    this.#knowsEarlier = true
    this.#length += earlier
    if (earlier >= this.#maxLength) this.#abandon()
    else if (this.#length > this.#maxLength) this.#cutWaiting(this.#maxLength - earlier)
  }

  #cutWaiting(room: number): void {
    this.#isCut = true
    this.#text = ''
    for (const [place, { phase, text }] of this.#waiting.entries()) {
      if (text.length > room || place === this.#waiting.length - 1) {
        this.#waiting.splice(place, this.#waiting.length, { phase, text: this.#cut(text, room) })
        return
      }
      room -= text.length
    }
  }

  #abandon(): void {
    this.#isCut = true
    this.#text = ''
    this.#waiting = []
  }
}

async function lengthOf(db: Db, deploymentId: string): Promise<number> {
  const [row] = await db
    .select({ length: sql<number>`coalesce(sum(length(${buildLogChunks.text})), 0)::int` })
    .from(buildLogChunks)
    .where(eq(buildLogChunks.deploymentId, deploymentId))
  return row!.length
}

/**
 * Appends chunks and notifies readers.
 *
 * @param isAgain a retry of a write that may have succeeded: the log may already end with these chunks
 */
async function insertChunks(db: Db, deploymentId: string, chunks: readonly Chunk[], isAgain: boolean): Promise<void> {
  if (chunks.length === 0) return
  await db.execute(sql`
    with newest as (
      select seq, text from build_log_chunks where deployment_id = ${deploymentId} order by seq desc limit 1
    ), added as (
      insert into build_log_chunks (deployment_id, seq, phase, text)
      select ${deploymentId}::uuid, coalesce((select seq from newest), 0) + place, chunk->>'phase', chunk->>'text'
      from json_array_elements(${JSON.stringify(chunks)}::text::json) with ordinality as chunks (chunk, place)
      where not (${isAgain} and coalesce((select text from newest), '') = ${chunks.at(-1)!.text})
      returning seq
    )
    select pg_notify(${BUILD_LOG_CHANNEL}, ${deploymentId}), count(*) from added`)
}

function isGone(error: unknown): boolean {
  return violatedConstraint(error) === 'build_log_chunks_deployment_id_deployments_id_fk'
}

/** The chunks of a log after a known one, in order. */
export async function readBuildLog(db: Db, deploymentId: string, after = 0, limit = DEFAULT_LIMIT) {
  return chunksAfter(db).execute({ deployment: deploymentId, after: Math.min(after, MAX_SEQ), limit })
}

const chunksAfter = repeatableRead(db =>
  db
    .select({
      seq: buildLogChunks.seq,
      phase: buildLogChunks.phase,
      text: buildLogChunks.text,
      at: buildLogChunks.createdAt
    })
    .from(buildLogChunks)
    .where(
      and(
        eq(buildLogChunks.deploymentId, sql.placeholder('deployment')),
        gt(buildLogChunks.seq, sql.placeholder('after'))
      )
    )
    .orderBy(asc(buildLogChunks.seq))
    .limit(sql.placeholder('limit'))
    .prepare('build_log_chunks_after')
)

/** The same in pages. */
export async function listBuildLog(
  db: Db,
  deploymentId: string,
  { limit = DEFAULT_LIMIT, cursor, after = 0 }: PageRequest & { after?: number }
): Promise<Page<BuildLogChunk>> {
  const from = parseNameCursor(cursor) ?? String(after)
  if (!/^\d{1,16}$/.test(from)) throw invalidCursor()
  const chunks = await readBuildLog(db, deploymentId, Number(from), limit + 1)
  return cutPage(chunks, limit, ({ seq }) => String(seq))
}

/** The same as one text, part by part. */
export async function* textOfBuildLog(db: Db, deploymentId: string): AsyncGenerator<string> {
  for (let chunks = await readBuildLog(db, deploymentId); chunks.length > 0; ) {
    yield chunks.map(({ text }) => text).join('')
    chunks = await readBuildLog(db, deploymentId, chunks.at(-1)!.seq)
  }
}

export type BuildLogChunk = Awaited<ReturnType<typeof readBuildLog>>[number]

/** The last output of a deployment may be written a moment after its final status. */
const AFTERMATH = sql`interval '1 second'`

export type Progress = Readonly<{ status: DeploymentStatus; state: 'active' | 'settling' | 'over' }>

/** The progress of an app's deployment: `settling` while it is over but the last output may still arrive. */
export async function readProgress(db: Db, appId: string, deploymentId: string): Promise<Progress> {
  const progress = await findProgress(db, appId, deploymentId)
  if (progress === undefined) throw errors.notFound('deployment')
  return progress
}

/** The same; undefined if the deployment does not exist any more. */
export async function findProgress(db: Db, appId: string, deploymentId: string): Promise<Progress | undefined> {
  const [progress] = isUuid(deploymentId)
    ? await db
        .select({
          status: deployments.status,
          hasSettled: sql<boolean>`${deployments.updatedAt} < now() - ${AFTERMATH}`
        })
        .from(deployments)
        .where(and(eq(deployments.id, deploymentId), eq(deployments.appId, appId)))
    : []
  if (progress === undefined) return undefined
  const { status, hasSettled } = progress
  return { status, state: isActive(status) ? 'active' : hasSettled ? 'over' : 'settling' }
}
