import { createHash } from 'node:crypto'
import { Readable, type Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Session } from '../../../plugins/lib/postgres-session.ts'
import { inBlocks } from './blocks.ts'
import { nameOf, quoted, type TableFacts } from './tables.ts'

const NEWLINE = 0x0a

/**
 * The rows of a table in PostgreSQL's text format: every row ends with a newline, and contains no other.
 * @param block is filled and yielded again and again, so that no memory has to be found for rows
 */
export async function* copyOut(session: Session, table: TableFacts, block: Buffer): AsyncGenerator<Buffer> {
  const columns = table.columns.map(quoted).join(', ')
  const rows = await session.sql.unsafe(`copy (select ${columns} from ${nameOf(table)}) to stdout`).readable()
  // Otherwise the rest of the reply stays unread, and the connection hangs.
  rows.once('end', () => session.resume())
  yield* inBlocks(rows, block)
}

/** Parts of postgres.js that are missing from its types. */
interface PendingCopy {
  reject: (error: Error) => void
}

/**
 * Adds rows in the text format to a table.
 *
 * @throws the database's error when it refuses a row, also at the end
 */
export async function copyIn(session: Session, table: TableFacts, rows: AsyncIterable<Buffer>): Promise<void> {
  const columns = table.columns.map(quoted).join(', ')
  const query = session.sql.unsafe(`copy ${nameOf(table)} (${columns}) from stdin`)
  const stream = (await query.writable()) as Writable
  // The driver settles the query when copying begins, and would lose the database's result at the end.
  const refused = new Promise<never>((_, reject) => {
    ;(query as unknown as PendingCopy).reject = reject
  })
  refused.catch(() => {})
  await Promise.race([pipeline(Readable.from(rows, { objectMode: false }), stream), refused]).catch(async error => {
    // A broken stream is reported as its own error; the database's may follow and says more.
    throw error
  })
}

/** Counts and hashes rows as they pass. */
export class RowMeter {
  rows = 0
  bytes = 0
  readonly #hash = createHash('sha256')

  add(chunk: Buffer): void {
    this.#hash.update(chunk)
    this.bytes += chunk.length
    for (let at = chunk.indexOf(NEWLINE); at >= 0; at = chunk.indexOf(NEWLINE, at + 1)) this.rows += 1
  }

  /** May be called only once. */
  result(): { rows: number; bytes: number; sha256: string } {
    return { rows: this.rows, bytes: this.bytes, sha256: this.#hash.digest('hex') }
  }
}
