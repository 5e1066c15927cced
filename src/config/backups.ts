import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Static, type TObject, Type } from '@sinclair/typebox'
import { parseCron } from './cron.ts'
import { parseAddress } from './mail.ts'
import { credential, oneOf, optional, type Reader, section, text } from './section.ts'
import { isLoopback, list } from './values.ts'

/** Where backups are stored, who can open them, when they are made and how many are kept. */
export interface BackupSettings {
  readonly backups: {
    /** Null: `DATA_DIR/backups`; see `backupTargetOf`. */
    readonly target: BackupTarget | null
    /** Public age keys that encrypt the data. Empty: in development, a generated one; otherwise no backups. */
    readonly recipients: readonly string[]
    /** Public age keys that encrypt the keyrings; if empty, those of the data. */
    readonly keyRecipients: readonly string[]
    /** File with the private age keys that open backups. */
    readonly identityFile: string | null
    /** Cron expressions in UTC. Null: no schedule. */
    readonly schedule: string | null
    readonly drillSchedule: string | null
    readonly keep: BackupKeep
    /** Whether an embedded database's write-ahead log is archived, for point-in-time recovery. */
    readonly continuous: boolean
    /** Maximum bytes of that log waiting for the storage. */
    readonly waitingLimit: number
  }
  /** Gets a JSON POST about each backup and drill. */
  readonly notifyWebhookUrl: string | null
  /** Addresses that are told the same by mail. */
  readonly notifyEmail: readonly string[]
}

export type BackupTarget =
  | { readonly directory: string }
  | {
      readonly s3: {
        readonly bucket: string
        readonly prefix: string
        readonly endpoint: string | null
        readonly region: string
        readonly accessKeyId: string
        readonly secretAccessKey: string
        readonly sessionToken?: string
      }
    }

/** The number of days, weeks and months whose newest backup is kept. */
export interface BackupKeep {
  readonly days: number
  readonly weeks: number
  readonly months: number
}

const variables = {
  BACKUP_URL: optional(
    text('Where backups go: file:///path or s3://bucket/prefix?endpoint=...&region=...; DATA_DIR/backups when unset.')
  ),
  AWS_ACCESS_KEY_ID: credential('Access key for BACKUP_URL=s3://...; it needs no permission to delete.', {
    needsRestart: true
  }),
  AWS_SECRET_ACCESS_KEY: credential('The secret of that access key.', { needsRestart: true }),
  AWS_SESSION_TOKEN: credential('The session token of that access key, if it is temporary.', { needsRestart: true }),
  BACKUP_RECIPIENTS: optional(
    text(
      'Public age keys to encrypt backups for, a list. In development, one is generated; otherwise required for backups.'
    )
  ),
  BACKUP_KEY_RECIPIENTS: optional(
    text('Public age keys to encrypt the keyrings of a backup for; BACKUP_RECIPIENTS when unset.')
  ),
  BACKUP_IDENTITY_FILE: optional(
    text('File with private age keys, to verify, restore and drill. Creating backups needs none.')
  ),
  BACKUP_SCHEDULE: text('When to create backups: a cron expression in UTC, or off.', { default: '0 2 * * *' }),
  BACKUP_DRILL_SCHEDULE: text('When to run a restore drill: a cron expression in UTC, or off.', {
    default: '0 3 * * 0'
  }),
  BACKUP_KEEP: text(
    'For how many days, weeks and months to keep the newest backup of each; at least three are always kept.',
    {
      default: '7d4w12m'
    }
  ),
  BACKUP_CONTINUOUS: oneOf(['auto', 'on', 'off'], {
    default: 'auto',
    description: 'Continuous archiving of the embedded database, for `backup restore --to`. auto: with BACKUP_URL.'
  }),
  BACKUP_WAITING_LIMIT: Type.Integer({
    default: 1_073_741_824,
    minimum: 67_108_864,
    description: 'Bytes of WAL that may wait on disk for the storage; beyond it, a new base backup starts.'
  }),
  NOTIFY_EMAIL: optional(text('Mail addresses for the same notifications, a list. Needs SMTP_URL.')),
  NOTIFY_WEBHOOK_URL: credential('Receives a POST of JSON with the result of each backup and drill.', {
    needsRestart: true
  })
}
type Env = Static<TObject<typeof variables>>

export default section(variables, reader => {
  const { env, parse } = reader
  const recipients = parse('BACKUP_RECIPIENTS', parseRecipients) ?? []
  const settings: BackupSettings = {
    backups: {
      target: targetOf(reader),
      recipients,
      keyRecipients: parse('BACKUP_KEY_RECIPIENTS', parseRecipients) ?? recipients,
      identityFile: env.BACKUP_IDENTITY_FILE === undefined ? null : resolve(env.BACKUP_IDENTITY_FILE),
      schedule: parse('BACKUP_SCHEDULE', parseSchedule),
      drillSchedule: parse('BACKUP_DRILL_SCHEDULE', parseSchedule),
      keep: parse('BACKUP_KEEP', parseKeep)!,
      continuous: env.BACKUP_CONTINUOUS === 'auto' ? env.BACKUP_URL !== undefined : env.BACKUP_CONTINUOUS === 'on',
      waitingLimit: env.BACKUP_WAITING_LIMIT
    },
    notifyWebhookUrl: parse('NOTIFY_WEBHOOK_URL', value => parseWebhook(value, reader.production)),
    notifyEmail: parse('NOTIFY_EMAIL', parseAddresses) ?? []
  }
  return settings
})

function targetOf({ env, parse, refuse, production }: Reader<Env>): BackupTarget | null {
  const { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey, AWS_SESSION_TOKEN: token } = env
  const target = parse('BACKUP_URL', value => parseTarget(value))
  if (target === null || 'directory' in target) return target
  if (accessKeyId === undefined || secretAccessKey === undefined)
    refuse('AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY: BACKUP_URL=s3://... needs both')
  if (production && target.s3.endpoint?.startsWith('http:') && !isLoopback(target.s3.endpoint))
    refuse('BACKUP_URL: its endpoint must be https')
  const keys = { accessKeyId: accessKeyId ?? '', secretAccessKey: secretAccessKey ?? '' }
  return { s3: { ...target.s3, ...keys, ...(token !== undefined && { sessionToken: token }) } }
}

/** The storage of backups. The default is below DATA_DIR, which another section reads. */
export function backupTargetOf({ backups, dataDir }: BackupSettings & { readonly dataDir: string }): BackupTarget {
  return backups.target ?? { directory: join(dataDir, 'backups') }
}

type ParsedTarget =
  | { directory: string }
  | { s3: Record<'bucket' | 'prefix' | 'region', string> & { endpoint: string | null } }

function parseTarget(value: string): ParsedTarget {
  const url = URL.parse(value)
  if (url?.protocol === 'file:' && url.host === '' && url.pathname !== '/') return { directory: fileURLToPath(url) }
  if (url?.protocol !== 's3:' || url.host === '')
    throw new Error('must be file:///path or s3://bucket/prefix?endpoint=https://...&region=...')
  if (url.username || url.password)
    throw new Error('must not contain credentials; use AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY')
  const { endpoint = null, region = 'us-east-1', ...others } = Object.fromEntries(url.searchParams)
  const [unknown] = Object.keys(others)
  if (unknown !== undefined) throw new Error(`has the unknown parameter "${unknown}"; known are endpoint and region`)
  const prefix = url.pathname.replace(/^\/+|\/+$/g, '')
  if (!/^[A-Za-z0-9._/-]*$/.test(prefix)) throw new Error('its prefix may contain only letters, digits and ._-/')
  return { s3: { bucket: url.host, prefix, endpoint: endpoint === null ? null : originOf(endpoint), region } }
}

function originOf(endpoint: string): string {
  const url = URL.parse(endpoint)
  if (url === null || !/^https?:$/.test(url.protocol) || url.username || url.pathname !== '/')
    throw new Error('its endpoint must be an http or https address without a path')
  return url.origin
}

function parseRecipients(value: string): string[] {
  const recipients = list(value)
  const wrong = recipients.find(recipient => !/^age1[a-z0-9]{20,}$/.test(recipient))
  if (wrong?.startsWith('AGE-SECRET-KEY'))
    throw new Error('contains a private key; use the public one, which begins with age1')
  if (wrong !== undefined) throw new Error(`"${wrong}" is not a public age key, which begins with age1`)
  if (recipients.length === 0) throw new Error('must contain at least one public age key')
  return recipients
}

function parseSchedule(value: string): string | null {
  return value === 'off' ? null : parseCron(value).text
}

function parseKeep(value: string): BackupKeep {
  const [whole, days = 0, weeks = 0, months = 0] = /^(?:(\d{1,4})d)?(?:(\d{1,4})w)?(?:(\d{1,4})m)?$/.exec(value) ?? []
  const keep = { days: Number(days), weeks: Number(weeks), months: Number(months) }
  if (whole === undefined || keep.days + keep.weeks + keep.months === 0)
    throw new Error(`"${value}" must be days, weeks and months, such as 7d4w12m`)
  return keep
}

function parseWebhook(value: string, production: boolean): string {
  const url = URL.parse(value)
  if (url === null || !/^https?:$/.test(url.protocol)) throw new Error('must be an http or https URL')
  if (production && url.protocol === 'http:' && !isLoopback(value)) throw new Error('must be https')
  return value
}

function parseAddresses(value: string): string[] {
  return list(value).map(parseAddress)
}
