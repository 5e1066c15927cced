import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { openStorage, type StorageOptions } from '../../integrations/storage/index.ts'
import { nullIf } from '../../plugins/lib/errno.ts'
import { backupTargetOf } from '../config/backups.ts'
import type { Config } from '../config/index.ts'
import { chainOf, type Stream } from '../workflows/archive/catalogue.ts'
import type { Notice } from '../workflows/backups/notify.ts'
import type { Restoration } from '../workflows/backups/restore.ts'
import { commandLineActor } from './actor.ts'
import { withKeys } from './audit-log.ts'
import { CommandError, defineCommand, type Input, type Output } from './command.ts'
import { facts, table } from './format.ts'

const args = ['[backup]']
const identity = {
  type: 'string',
  value: '<file>',
  description: 'File with the private age keys. Default: BACKUP_IDENTITY_FILE.'
} as const

const instant = {
  type: 'string',
  value: '<instant>',
  description:
    'Point in time to recover to, from the archive of an embedded database: such as 2030-01-31T02:03:04Z, or latest.'
} as const

export const backupCreate = defineCommand({
  name: 'backup create',
  summary: 'Back up the database and, encrypted separately, the keyrings; then verify the backup by reading it.',
  printsData: true,
  async run(input) {
    const { withDatabaseUrl } = await import('./database.ts')
    const { backupSettingsOf } = await import('../wiring/backups.ts')
    const { createApart } = await import('../wiring/backup-runner.ts')
    const config = await withKeys(input)
    return announced(input, config, 'backup', async () => {
      const backup = await withDatabaseUrl(input, async url =>
        createApart(await backupSettingsOf(config, url), new AbortController().signal)
      )
      const text = facts({
        backup: backup.id,
        taken: backup.takenAt,
        rows: String(backup.rows),
        size: sizeOf(backup.data.bytes + backup.keys.bytes),
        checked: backup.checked,
        in: placeOf(config)
      })
      return {
        output: { data: backup, text },
        said: `Backup ${backup.id}: ${backup.rows} rows`,
        details: { ...backup }
      }
    })
  }
})

export const backupList = defineCommand({
  name: 'backup list',
  summary: 'List the backups, newest first, with their state.',
  printsData: true,
  async run({ config }) {
    const { listBackups } = await import('../workflows/backups/catalogue.ts')
    const { listStreams } = await import('../workflows/archive/catalogue.ts')
    const storage = openStorage(backupTargetOf(await config()))!
    const backups = await listBackups(storage)
    const archive = (await listStreams(storage)).flatMap(stretchesOf)
    const rows = backups.map(({ id, state, takenAt, bytes, descriptor, problem }) => [
      id,
      state,
      takenAt.toISOString(),
      String(descriptor?.rows ?? '-'),
      sizeOf(bytes),
      problem ?? descriptor?.checked ?? '-'
    ])
    const data = {
      backups: backups.map(({ descriptor, ...backup }) => ({ ...backup, ...described(descriptor) })),
      archive
    }
    const instants = archive.map(({ base, from, to, missing }) => [base, from, to, missing ?? '-'])
    const text = table(['backup', 'state', 'taken', 'rows', 'size', 'checked'], rows)
    if (archive.length === 0) return { data, text }
    return { data, text: `${text}\n\n${table(['base backup', 'recoverable from', 'to', 'missing'], instants)}` }
  }
})

export const backupVerify = defineCommand({
  name: 'backup verify',
  examples: [
    'rhone backup verify',
    'rhone backup verify 20300131T020000Z-1a2b3c4d',
    'rhone backup verify --to 2030-01-31T02:03:04Z'
  ],
  summary: 'Read a backup (default: the latest), decrypt it and compare every table with its manifest.',
  args,
  options: { identity, to: instant },
  printsData: true,
  async run(input) {
    if (input.options.to !== undefined) return verifyArchive(input, instantOf(input, input.options.to))
    const { chooseBackup, listBackups } = await import('../workflows/backups/catalogue.ts')
    const { assertStored, openBackup, openKeys } = await import('../workflows/backups/verify.ts')
    const { DATA, KEYS, objectOf } = await import('../workflows/backups/names.ts')
    const config = await input.config()
    const storage = openStorage(backupTargetOf(config))!
    const { id, descriptor } = chooseBackup(await listBackups(storage), input.args[0] ?? 'latest')
    const identities = await identitiesFor(input, config)
    await assertStored(storage, objectOf(id, KEYS), descriptor.keys)
    if (identities.length === 0) {
      await assertStored(storage, objectOf(id, DATA), descriptor.data)
      input.note('no private age key: only the checksums of the stored files were verified; nothing was decrypted')
    } else {
      await openBackup(storage, descriptor, identities)
      await openKeys(storage, descriptor, identities)
    }
    const depth = identities.length === 0 ? 'read back' : 'opened'
    return {
      data: { id, verified: true, checked: depth, rows: descriptor.rows },
      text: facts({ backup: id, rows: String(descriptor.rows), checked: depth, verdict: 'it is intact' })
    }
  }
})

export const backupRestore = defineCommand({
  name: 'backup restore',
  examples: [
    'rhone backup restore',
    'rhone backup restore 20300131T020000Z-1a2b3c4d --identity key.txt',
    'rhone backup restore --to 2030-01-31T02:03:04Z --identity key.txt'
  ],
  summary: 'Restore a backup (default: the latest) into an empty database, and leave the platform in maintenance.',
  args,
  options: {
    identity,
    to: instant,
    'without-jobs': { type: 'boolean', description: 'Skip the job queue, for example if another version wrote it.' }
  },
  printsData: true,
  async run(input) {
    if (input.options.to !== undefined) return recoverArchive(input, instantOf(input, input.options.to))
    const { withDatabaseUrl } = await import('./database.ts')
    const { keyringsOf } = await import('../wiring/backups.ts')
    const { ownMigrator } = await import('../wiring/migrator.ts')
    const { restoreBackup } = await import('../workflows/backups/restore.ts')
    const config = await input.config()
    const keyrings = { ...(await storedKeyrings(config)), ...keyringsOf(config) }
    const identities = await identitiesFor(input, config)
    const migrator = await ownMigrator()
    return announced(input, config, 'restore', async () => {
      const settings = {
        storage: backupTargetOf(config) as StorageOptions,
        identities,
        backup: input.args[0] ?? 'latest',
        keyrings,
        by: commandLineActor(),
        withoutJobs: input.options['without-jobs'] === true
      }
      const restored = await withDatabaseUrl(
        input,
        databaseUrl => restoreBackup({ ...settings, databaseUrl }, migrator),
        { archived: false }
      )
      const next = await settle(config, restored)
      for (const note of next) input.note(note)
      const { backup, rows, took, sessions, tokens, jobs } = restored
      const data = { backup: backup.id, takenAt: backup.takenAt, rows, sessions, tokens, jobs, took, next }
      const text = facts({
        backup: backup.id,
        'as of': backup.takenAt,
        rows: String(rows),
        'sessions ended': String(sessions),
        'tokens revoked': String(tokens),
        'jobs held': String(jobs),
        took: `${(took / 1_000).toFixed(1)} s`,
        platform: 'closed'
      })
      return { output: { data, text }, said: `Restored backup ${backup.id} of ${backup.takenAt}`, details: data }
    })
  }
})

export const backupDrill = defineCommand({
  name: 'backup drill',
  summary:
    'Run a restore drill: restore a backup (default: the latest) into a temporary database, and print how long it took.',
  args,
  options: { identity },
  printsData: true,
  async run(input) {
    const { keyringsOf } = await import('../wiring/backups.ts')
    const { ownMigrator } = await import('../wiring/migrator.ts')
    const { temporaryCluster } = await import('../wiring/throw-away-cluster.ts')
    const { drillBackup } = await import('../workflows/backups/drill.ts')
    const config = await input.config()
    const keyrings = { ...(await storedKeyrings(config)), ...keyringsOf(config) }
    const identities = await identitiesFor(input, config)
    return announced(input, config, 'drill', async () => {
      const drill = await drillBackup(
        { storage: backupTargetOf(config), identities, backup: input.args[0] ?? 'latest', keyrings },
        await ownMigrator(),
        temporaryCluster(config.dataDir, { info() {}, warn: input.note, error: input.note })
      )
      const text = facts({
        backup: drill.backup,
        rows: String(drill.rows),
        'audit rows': String(drill.auditRows),
        'keys that opened a secret': drill.keys.join(' ') || 'none needed',
        'indexes compared': String(drill.indexes),
        'a restore takes': `${drill.rtoSeconds.toFixed(1)} s`,
        'and would have lost': `${Math.round(drill.rpoSeconds)} s`
      })
      const said = `Drill of backup ${drill.backup}: ${drill.rows} rows in ${drill.rtoSeconds.toFixed(1)} s`
      return { output: { data: drill, text }, said, details: { ...drill } }
    })
  }
})

export const backupPrune = defineCommand({
  name: 'backup prune',
  summary:
    'Remove backups of this database that BACKUP_KEEP no longer retains, and expired parts of the archive; at least three complete backups are kept.',
  printsData: true,
  async run(input) {
    const { withDatabaseUrl } = await import('./database.ts')
    const { findIdentity } = await import('../workflows/backups/identity.ts')
    const { pruneBackups } = await import('../workflows/backups/retention.ts')
    const config = await input.config()
    const storage = openStorage(backupTargetOf(config))!
    const installation = await withDatabaseUrl(input, findIdentity)
    if (installation === null) throw new CommandError('this database has no backups yet: there is nothing to remove')
    const pruning = await pruneBackups(storage, installation, config.backups.keep)
    const { pruneArchive } = await import('../workflows/archive/retention.ts')
    const gone = await pruneArchive(storage, config.backups.keep.days, installation)
    const bases = gone.bases.map(({ id }) => id)
    const text = facts({
      kept: String(pruning.kept.length),
      removed: pruning.removed.join(' ') || 'none',
      'base backups removed': bases.join(' ') || 'none'
    })
    return { data: { ...pruning, bases }, text }
  }
})

/** The ranges of instants that an archive can restore. */
function stretchesOf(stream: Stream) {
  return stream.bases.map(base => {
    const { end, missing } = chainOf(stream, base, null)
    return { stream: stream.id, base: base.id, from: base.finishedAt, to: end.toISOString(), missing }
  })
}

/** @throws CommandError; null means the latest available instant */
function instantOf({ args }: Pick<Input, 'args'>, text: string): Date | null {
  if (args[0] !== undefined) throw new CommandError('--to reads the archive: it cannot be combined with a backup id')
  if (text === 'latest') return null
  const at = new Date(text)
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)$/.test(text) || Number.isNaN(at.getTime()))
    throw new CommandError(`--to ${text} is not a time with a time zone, such as 2030-01-31T02:03:04Z, or latest`)
  return at
}

async function verifyArchive(input: ArchiveInput, to: Date | null): Promise<Output> {
  const { verifyRecoveryPath } = await import('../workflows/archive/recover.ts')
  const config = await input.config()
  const identities = await identitiesFor(input, config)
  if (identities.length === 0)
    input.note('no private age key: only the checksums of the archive were verified; nothing was decrypted')
  const { base, chain } = await verifyRecoveryPath({ storage: backupTargetOf(config), identities, to })
  const [segments, end] = [chain.segments.length, chain.end.toISOString()]
  const text = facts({
    'base backup': base.id,
    segments: String(segments),
    'recoverable from': base.finishedAt,
    to: end,
    verdict: 'it is intact'
  })
  return { data: { base: base.id, segments, from: base.finishedAt, to: end, verified: true }, text }
}

async function recoverArchive(input: ArchiveInput, to: Date | null): Promise<Output> {
  const { keyringsOf } = await import('../wiring/backups.ts')
  const { ownMigrator } = await import('../wiring/migrator.ts')
  const { embeddedRecoverer } = await import('../wiring/recoverer.ts')
  const { recoverTo } = await import('../workflows/archive/recover.ts')
  const config = await input.config()
  if (config.database.url !== null)
    throw new CommandError(
      '--to recovers the embedded database, but DATABASE_URL is set: unset it, or use the recovery of your database provider'
    )
  const keyrings = { ...(await storedKeyrings(config)), ...keyringsOf(config) }
  const identities = await identitiesFor(input, config)
  const log = { info() {}, warn: input.note, error: input.note }
  const recoverer = await embeddedRecoverer(config.dataDir, log)
  return announced(input, config, 'restore', async () => {
    const restored = await recoverTo(
      { storage: backupTargetOf(config), identities, to, keyrings, by: commandLineActor() },
      recoverer,
      await ownMigrator()
    )
    const next = await settle(config, restored)
    for (const note of next) input.note(note)
    const { base, segments, took, sessions, tokens, jobs } = restored
    const at = restored.to.toISOString()
    const data = { base, to: at, segments, sessions, tokens, jobs, took, next }
    const text = facts({
      'base backup': base,
      'as of': at,
      segments: String(segments),
      'sessions ended': String(sessions),
      'tokens revoked': String(tokens),
      'jobs held': String(jobs),
      took: `${(took / 1_000).toFixed(1)} s`,
      platform: 'closed'
    })
    return { output: { data, text }, said: `Restored the database of ${at}`, details: data }
  })
}

type ArchiveInput = Pick<Input, 'config' | 'note' | 'options'>

interface Announced {
  readonly output: { data: unknown; text: string }
  /** The message for those who are notified. */
  readonly said: string
  readonly details: Readonly<Record<string, unknown>>
}

/** Notifies of the outcome. A failed notification is printed, and has no other effect. */
async function announced(
  input: Pick<Input, 'note'>,
  config: Config,
  event: Notice['event'],
  work: () => Promise<Announced>
) {
  const { audienceOf } = await import('../wiring/audience.ts')
  const { notify } = await import('../workflows/backups/notify.ts')
  const audience = audienceOf(config)
  const tell = (notice: Omit<Notice, 'event'>) =>
    notify(audience, { event, ...notice }, (variable, error) =>
      input.note(`the notification to ${variable} failed: ${error.message}`)
    )
  try {
    const { output, said, details } = await work()
    await tell({ outcome: 'success', text: said, details })
    return output
  } catch (error) {
    await tell({ outcome: 'failure', text: `The ${event} has failed: ${(error as Error).message}` })
    throw error
  }
}

/** Settles which variables a server needs to start on the restored data, and where the new token is. */
async function settle(
  config: Config,
  restored: Pick<Restoration, 'recovered' | 'keyrings' | 'extras' | 'operatorToken'>
): Promise<string[]> {
  const { createDataDir } = await import('../config/data-dir.ts')
  const next: string[] = []
  await createDataDir(config.dataDir)
  const own = keyringsPath(config)
  if (restored.recovered.length > 0 && !config.production) {
    const { SESSION_KEYS: session, ENCRYPTION_KEYS: encryption, SIGNING_KEYS: signing } = restored.keyrings
    await writeFile(own, JSON.stringify({ session, encryption, signing }, null, 2), { mode: 0o600, flush: true })
    next.push(`the keyrings of the backup are in ${own}`)
  } else if (restored.recovered.length > 0) {
    const path = join(config.dataDir, 'restored-keys.env')
    const lines = restored.recovered.map(name => `${name}=${restored.keyrings[name]}\n`)
    await writeFile(path, lines.join(''), { mode: 0o600, flush: true })
    next.push(`set ${restored.recovered.join(', ')} to the values in ${path}, then remove that file`)
  }
  for (const [name, content] of Object.entries(restored.extras?.files ?? {})) {
    const path = join(config.dataDir, `restored-${name.toLowerCase().replaceAll('_', '-')}.pem`)
    await writeFile(path, content, { mode: 0o600, flush: true })
    next.push(`what ${name} named is in ${path}`)
  }
  if (restored.operatorToken !== null) {
    const path = join(config.dataDir, 'operator-token')
    await writeFile(path, `${restored.operatorToken}\n`, { mode: 0o600, flush: true })
    next.push(`a new operator token is in ${path}; all other tokens are revoked`)
  }
  next.push('the platform is in maintenance; check it, then open it: rhone maintenance off')
  return next
}

const keyringsPath = ({ dataDir }: Config) => join(dataDir, 'keys.json')

/** The keyrings that development mode has generated here, if any: a restore must not generate new ones. */
async function storedKeyrings(config: Config) {
  const text = await readFile(keyringsPath(config), 'utf8').catch(nullIf('ENOENT'))
  if (text === null || config.production) return {}
  const { session, encryption, signing } = JSON.parse(text) as Record<string, string>
  return { SESSION_KEYS: session!, ENCRYPTION_KEYS: encryption!, SIGNING_KEYS: signing! }
}

async function identitiesFor({ options }: { options: Input['options'] }, config: Config): Promise<string[]> {
  const { identitiesOf } = await import('../wiring/backups.ts')
  const { identity } = options as { identity?: string }
  const backups = identity === undefined ? config.backups : { ...config.backups, identityFile: identity }
  return identitiesOf({ ...config, backups })
}

function described(descriptor: { rows: number; release: string; checked: string; keyIds: object } | null) {
  if (descriptor === null) return {}
  const { rows, release, checked, keyIds } = descriptor
  return { rows, release, checked, keyIds }
}

function placeOf(config: Config): string {
  return openStorage(backupTargetOf(config))!.description
}

function sizeOf(bytes: number): string {
  return bytes < 1_000_000 ? `${(bytes / 1_000).toFixed(1)} kB` : `${(bytes / 1_000_000).toFixed(1)} MB`
}
