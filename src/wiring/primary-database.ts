import { join } from 'node:path'
import { hostUrls, postgresTargets } from '../../plugins/lib/postgres.ts'
import { choosePrimary, surveyHosts } from '../../plugins/lib/postgres-hosts.ts'
import type { Config } from '../config/index.ts'
import { lastSighting, timelineFence } from './timeline-fence.ts'

/** Milliseconds that a host has for its answer, connecting included. */
const ANSWER_TIMEOUT = 5_000

const pathIn = ({ dataDir }: Pick<Config, 'dataDir'>) => join(dataDir, 'database-timelines.json')

/** Where the primary was when a server on the same data directory last saw it. */
export const sightingOf = (config: Pick<Config, 'dataDir'>) => lastSighting(pathIn(config))

/** Remembers the timelines for all processes and commands on a data directory. */
export function fenceOf(config: Pick<Config, 'dataDir'>, onError: (error: unknown) => void) {
  return timelineFence(pathIn(config), onError)
}

/**
 * The URL of the one host that takes writes, for work that keeps to one connection.
 *
 * @param url names one host, which is used without a question, or several
 * @throws Error that says why no host can be written to
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
