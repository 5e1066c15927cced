import { type Column, type SQL, sql } from 'drizzle-orm'

/** Carries the id of each app whose settings or variables have changed. */
export const APPS_CHANNEL = 'rhone_apps'

/** For the RETURNING clause of a change, so that the notice needs no statement of its own and is sent on commit. */
export const notifyOfApp = (appId: Column): SQL<unknown> => sql`pg_notify(${APPS_CHANNEL}, ${appId}::text)`
