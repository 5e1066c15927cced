import { join } from 'node:path'
import { hostUrls, postgresTargets } from '../../plugins/lib/postgres.ts'
import { choosePrimary, surveyHosts } from '../../plugins/lib/postgres-hosts.ts'
import type { Config } from '../config/index.ts'
import { lastSighting, timelineFence } from './timeline-fence.ts'

/** Milliseconds for a host to answer, including the connection. */
const ANSWER_TIMEOUT = 5_000

const pathIn = ({ dataDir }: Pick<Config, 'dataDir'>) => join(dataDir, 'database-timelines.json')

/** The primary's last known position, as seen by any server on the same data directory. */
export const sightingOf = (config: Pick<Config, 'dataDir'>) => lastSighting(pathIn(config))

/** Remembers the timelines for all processes and commands that share a data directory. */
export function fenceOf(config: Pick<Config, 'dataDir'>, onError: (error: unknown) => void) {
  return timelineFence(pathIn(config), onError)
}

/**
 * The URL of the host that accepts writes, for work on a single connection.
 * @param url one host, which is used without asking, or several
 * @throws Error that says why no host accepts writes
 */
export async function primaryUrlOf(config: Pick<Config, 'dataDir'>, url: string): Promise<string> {
  const urls = hostUrls(url)
  if (urls.length === 1) return url
  const targets = postgresTargets(url)
  const options = { applicationName: 'rhone', connectTimeout: ANSWER_TIMEOUT / 1_000, timeoutMs: ANSWER_TIMEOUT }
  const reports = await surveyHosts(targets, options)
  const fence = fenceOf(config, () => {})
  const { primary, refusal } = choosePrimary(reports, system => fence.highest(system))
  if (primary === undefined) throw Object.assign(new Error(refusal), { code: 'CONNECTION_CLOSED' })
  return urls[targets.indexOf(primary.target)]!
}
