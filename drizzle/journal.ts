import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

export interface Migration {
  /** Its place in the order, from 0. */
  index: number
  /** The name of its file, without `.sql`. */
  tag: string
  statements: readonly string[]
  /** SHA-256 of the file. */
  checksum: string
}

export const MIGRATIONS_FOLDER = join(import.meta.dirname, 'migrations')

interface Journal {
  entries: { idx: number; tag: string; when: number }[]
}

/**
 * The migrations that drizzle-kit has written, in their order.
 *
 * @throws Error when the journal is out of order, as it is after a careless merge of two branches
 */
export async function readMigrations(folder = MIGRATIONS_FOLDER): Promise<Migration[]> {
  const journal: Journal = JSON.parse(await readFile(join(folder, 'meta', '_journal.json'), 'utf8'))
  refuseDisorder(journal)
  return Promise.all(journal.entries.map(({ tag }, index) => readMigration(folder, tag, index)))
}

function refuseDisorder({ entries }: Journal): void {
  for (const [index, { idx, tag, when }] of entries.entries()) {
    const previous = entries[index - 1]
    if (idx !== index || (previous !== undefined && when <= previous.when))
      throw new Error(`migration ${tag} is out of order in the journal; generate it again, after the others`)
  }
}

async function readMigration(folder: string, tag: string, index: number): Promise<Migration> {
  const text = await readFile(join(folder, `${tag}.sql`), 'utf8')
  return {
    index,
    tag,
    statements: text
      .split('--> statement-breakpoint')
      .map(statement => statement.trim())
      .filter(Boolean),
    checksum: createHash('sha256').update(text).digest('hex')
  }
}
