import { and, eq, gt, sql } from 'drizzle-orm'
import { sourceArchiveChunks, sourceArchives } from '../../../drizzle/schema.ts'
import { errors } from '../../../plugins/lib/errors.ts'
import { readSourceArchive, TarError } from '../../../plugins/lib/source-archive.ts'
import type { Db } from '../base/db.ts'

/** Bytes per row: how much of an archive one instance holds in memory. */
const CHUNK = 524_288

/** A completely received archive. */
export interface ArrivedSource {
  readonly bytes: number
  /** SHA-256 in hexadecimal. */
  readonly digest: string
  read(chunkBytes: number): AsyncIterable<Buffer>
}

/**
 * Reads an uploaded archive to its end, and refuses what no builder would accept.
 * @throws AppError with a sentence for the uploader
 */
export async function inspectSource(chunks: AsyncIterable<Uint8Array>): Promise<void> {
  try {
    for await (const { content } of readSourceArchive(chunks)) for await (const _ of content);
  } catch (error) {
    if (error instanceof TarError) throw errors.badRequest(error.message)
    throw error
  }
}

/** Stores an app's uploaded source, replacing the previous one. The caller holds the app's lock. */
export async function keepSource(tx: Db, appId: string, id: string, { bytes, digest, read }: ArrivedSource) {
  await tx.delete(sourceArchives).where(eq(sourceArchives.appId, appId))
  await tx.insert(sourceArchives).values({ id, appId, digest, bytes })
  let seq = 0
  for await (const content of read(CHUNK))
    await tx.insert(sourceArchiveChunks).values({ archiveId: id, seq: seq++, content })
}

/** The id of an app's last uploaded source, if it is still stored. */
export async function findSource(db: Db, appId: string): Promise<string | undefined> {
  const [found] = await db.select({ id: sourceArchives.id }).from(sourceArchives).where(eq(sourceArchives.appId, appId))
  return found?.id
}

export interface KeptSource {
  readonly digest: string
  /** The archive from its beginning, one row at a time. @throws SourceGone when it is replaced or removed meanwhile */
  read(): AsyncGenerator<Buffer>
}

/** The uploaded source was replaced by a newer one, or has expired. */
export class SourceGone extends Error {
  override readonly name = 'SourceGone'
}

/** An uploaded source. @throws SourceGone */
export async function openSource(db: Db, id: string): Promise<KeptSource> {
  const { digest, bytes } = sourceArchives
  const [archive] = await db.select({ digest, bytes }).from(sourceArchives).where(eq(sourceArchives.id, id))
  if (archive === undefined) throw new SourceGone()
  return { digest: archive.digest, read: () => readChunks(db, id, archive.bytes) }
}

async function* readChunks(db: Db, id: string, bytes: number): AsyncGenerator<Buffer> {
  let left = bytes
  for (let seq = -1; left > 0; ) {
    const [row] = await db
      .select({ seq: sourceArchiveChunks.seq, content: sourceArchiveChunks.content })
      .from(sourceArchiveChunks)
      .where(and(eq(sourceArchiveChunks.archiveId, id), gt(sourceArchiveChunks.seq, seq)))
      .orderBy(sql`${sourceArchiveChunks.seq}`)
      .limit(1)
    if (row === undefined) break
    seq = row.seq
    left -= row.content.length
    yield row.content
  }
  if (left !== 0) throw new SourceGone()
}
