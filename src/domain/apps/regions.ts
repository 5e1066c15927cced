import { eq } from 'drizzle-orm'
import { regions } from '../../../drizzle/schema.ts'
import { errors } from '../../../plugins/lib/errors.ts'
import type { Db } from '../base/db.ts'
import { cutPage, DEFAULT_LIMIT, invalidCursor, type Page, type PageRequest, parseNameCursor } from '../base/page.ts'

/** All regions, grouped by continent. */
export async function listRegions(db: Db) {
  const rows = await db.select().from(regions).orderBy(regions.continent, regions.code)
  return rows.map(region => ({
    ...region,
    latitude: Number(region.latitude),
    longitude: Number(region.longitude)
  }))
}

/** A page of all regions. */
export function pageOfRegions<Region extends { code: string }>(
  all: readonly Region[],
  { limit = DEFAULT_LIMIT, cursor }: PageRequest
): Page<Region> {
  const after = parseNameCursor(cursor)
  const last = all.findIndex(({ code }) => code === after)
  if (after !== undefined && last === -1) throw invalidCursor()
  return cutPage(all.slice(last + 1), limit, ({ code }) => code)
}

/** Refuses a region in which no app can be placed. */
export async function requireRegion(db: Db, code: string): Promise<void> {
  const [region] = await db.select({ available: regions.available }).from(regions).where(eq(regions.code, code))
  if (region === undefined) throw errors.validation('region', `unknown region "${code}"`)
  if (!region.available) throw errors.validation('region', `the region "${code}" does not accept new apps`)
}
