import { join } from 'node:path'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { AUDIT_TYPES } from '../../drizzle/schema.ts'
import { fileSpool } from '../../plugins/audit/spool.ts'
import { postgresCacheBus } from '../../plugins/cache/bus-postgres.ts'
import type { TimelineFence } from '../../plugins/database/index.ts'
import { hostUrls } from '../../plugins/lib/postgres.ts'
import { backupTargetOf } from '../config/backups.ts'
import { parseCron } from '../config/cron.ts'
import type { Config } from '../config/index.ts'
import { auditSink } from '../domain/audit/log.ts'
import { createErrorJournal } from '../domain/platform/error-events.ts'
import { holdingsOf } from '../domain/secrets/holders.ts'
import { fingerprintOf } from '../domain/secrets/keyring-check.ts'
import { has, registryOf } from '../kernel/has.ts'
import { audienceOf } from './audience.ts'
import { auditLogOf } from './audit-log.ts'
import { archiveRunner, backupRunner } from './backup-runner.ts'
import { followed } from './followed-secrets.ts'
import type { Ports } from './ports.ts'
import { fenceOf } from './primary-database.ts'
import { ringsOf, secretsOf } from './secrets.ts'
import { sharedFence } from './shared-fence.ts'

/* Options of the plugins that store data. */

export function database(config: Config, app: FastifyInstance) {
  const { url, directUrl, replicaUrl, poolMax, prepare } = config.database
  if (url === null) return false
  const hasCopies = replicaUrl !== null || hostUrls(url).length > 1
  return {
    ...registryOf(app),
    url,
    ...(directUrl !== null && { directUrl }),
    ...(replicaUrl !== null && { replicaUrl }),
    ...(hasCopies && { fence: fence(config, app) }),
    poolMax,
    prepare,
    quickQueries: config.shortcuts.has('queries')
  }
}

function fence(config: Config, app: FastifyInstance): TimelineFence {
  const stored = fenceOf(config, err =>
    app.log.error({ err }, 'the database timeline could not be stored in DATA_DIR: a restart will forget it')
  )
  if (config.redisUrl === null) return stored
  return sharedFence(
    stored,
    () => (has(app, 'redis') ? app.redis : undefined),
    err => app.log.warn({ err }, 'the database timeline could not be shared through Redis')
  )
}

/** Only where the database has copies: a single instance runs nothing for this. */
export function regions({ regions, baseUrl, keys }: Config, app: FastifyInstance) {
  const copies = has(app, 'postgres') ? app.postgres.copies : undefined
  if (copies === undefined) return false
  const { own, primary, primaryUrl } = regions
  return {
    ...registryOf(app),
    copies,
    ...(keys.session && { keys: keys.session }),
    mayBeOld: (request: FastifyRequest) => request.routeOptions.config.access === 'public',
    secure: baseUrl.protocol === 'https:',
    ...(own !== null && { region: own }),
    ...(primary !== null && { primaryRegion: primary }),
    ...(primaryUrl !== null && { primaryUrl: primaryUrl.origin })
  }
}

export function redis({ redisUrl }: Config, app: FastifyInstance) {
  return redisUrl !== null && { ...registryOf(app), url: redisUrl }
}

export function audit(config: Config, app: FastifyInstance) {
  const measured = { ...registryOf(app), types: AUDIT_TYPES }
  if (!has(app, 'db')) return measured
  const spool = fileSpool(join(config.dataDir, 'audit-spool'))
  return { ...measured, sink: auditSink(auditLogOf(config), () => app.db), spool }
}

export function cache(_config: Config, app: FastifyInstance) {
  return { ...registryOf(app), ...(has(app, 'db') && { bus: postgresCacheBus(app) }) }
}

export function secrets(config: Config, app: FastifyInstance, { secrets }: Ports) {
  return secrets !== undefined && { ...registryOf(app), ...followed(config, app, secrets) }
}

export function secretHolders(config: Config, app: FastifyInstance, { secrets }: Ports) {
  if (!has(app, 'db') || config.keys.encryption === null) return false
  return {
    holdings: () => holdingsOf(config.keys.encryption!, secretsOf(config), ringsOf(config)),
    onAgreement: (isHeldByAll: (name: string, print: string) => boolean) => {
      for (const [name, ring] of Object.entries(secrets?.live.rings() ?? {}))
        ring.promote((id, key) => isHeldByAll(name, fingerprintOf(name, id, key)))
    }
  }
}

export function recentErrors(_config: Config, app: FastifyInstance) {
  return has(app, 'db') ? { journal: createErrorJournal(app.db) } : {}
}

/** The storage for backups. */
export function storage(config: Config) {
  return backupTargetOf(config)
}

export function backups(config: Config, app: FastifyInstance) {
  if (!has(app, 'storage')) return false
  const { production, backups } = config
  return (
    has(app, 'db') && {
      config,
      runner: backupRunner(config),
      latestTime: (schedule: string, now: Date) => parseCron(schedule).previous(now),
      canCreate: backups.recipients.length > 0 || !production,
      canOpen: backups.identityFile !== null || !production,
      audience: audienceOf(config, registryOf(app).registry)
    }
  )
}

export function archive(config: Config, app: FastifyInstance) {
  const { archive } = config.database
  const { waitingLimit, recipients } = config.backups
  if (archive === null || !has(app, 'db') || (config.production && recipients.length === 0)) return false
  return {
    run: archiveRunner(config),
    directory: archive.directory,
    limit: waitingLimit,
    audience: audienceOf(config, registryOf(app).registry)
  }
}
