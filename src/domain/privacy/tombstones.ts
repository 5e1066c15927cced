import { eq } from 'drizzle-orm'
import { appTombstones } from '../../../drizzle/schema.ts'
import type { Db } from '../base/db.ts'

export type Tombstone = typeof appTombstones.$inferSelect

const MOST = 1_000

/** Deleted apps that may still be running. */
export async function listTombstones(db: Db): Promise<Tombstone[]> {
  return db.select().from(appTombstones).orderBy(appTombstones.createdAt).limit(MOST)
}

export async function findTombstone(db: Db, appId: string): Promise<Tombstone | undefined> {
  const [found] = await db.select().from(appTombstones).where(eq(appTombstones.appId, appId))
  return found
}

export async function removeTombstone(db: Db, appId: string): Promise<void> {
  await db.delete(appTombstones).where(eq(appTombstones.appId, appId))
}
