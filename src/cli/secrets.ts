import { randomBytes } from 'node:crypto'
import { generateKey } from '../config/keyring.ts'
import type { SecretAge } from '../domain/secrets/ledger.ts'
import type { Rotation, SealedCount } from '../domain/secrets/rotation.ts'
import { commandLineActor } from './actor.ts'
import { auditLogFor, withKeys } from './audit-log.ts'
import { defineCommand, type Input, UsageError } from './command.ts'
import { table } from './format.ts'
import type { Holders } from './rotation/held.ts'
import type { Rotated } from './rotation/port.ts'

export const secretsGenerate = defineCommand({
  name: 'secrets generate',
  summary: 'Print new keys, tokens and passwords for the environment of a new installation.',
  printsData: true,
  async run() {
    const secrets = {
      SESSION_KEYS: generateKey(),
      ENCRYPTION_KEYS: generateKey(),
      SIGNING_KEYS: generateKey(),
      METRICS_TOKEN: randomBytes(32).toString('base64url'),
      GITHUB_WEBHOOK_SECRET: randomBytes(32).toString('base64url')
    }
    const [database, redis] = [randomBytes(24).toString('hex'), randomBytes(24).toString('hex')]
    const text = [
      ...Object.entries(secrets).map(([name, value]) => `${name}=${value}`),
      '# Passwords for the database role, and for the Redis user if you have one:',
      `# DATABASE_URL=postgres://rhone:${database}@db.example.com:5432/rhone?sslmode=verify-full`,
      `# REDIS_URL=rediss://rhone:${redis}@redis.example.com:6379`
    ]
    return { data: secrets, text: text.join('\n') }
  }
})

export const secretsRotate = defineCommand({
  name: 'secrets rotate',
  summary:
    'Rotate one class of secrets while servers run; without a class, re-encrypt everything with the newest of ENCRYPTION_KEYS.',
  examples: [
    'rhone secrets rotate session',
    'rhone secrets rotate fly --value-file new-token',
    'rhone secrets rotate metrics --finish'
  ],
  args: ['[class]'],
  options: {
    'value-file': {
      type: 'string',
      value: '<path>',
      description: 'File with the new secret, if another service issues it; - reads stdin.'
    },
    finish: { type: 'boolean', description: 'Remove all accepted values except the newest.' },
    wait: {
      type: 'string',
      value: '<seconds>',
      description: 'Seconds to wait until all servers have it. Default: 120.'
    }
  },
  printsData: true,
  async run(input) {
    const [given] = input.args
    if (given !== undefined) {
      const rotated = await rotateOne(input, given, input.options)
      if (rotated.variable !== 'ENCRYPTION_KEYS' || rotated.set !== undefined || input.options.finish)
        return { data: rotated, text: rotationOf(rotated) }
      input.note(rotationOf(rotated))
    }
    const { withDatabase } = await import('./database.ts')
    const { rotateSecrets } = await import('../domain/secrets/rotation.ts')
    const { keys } = await withKeys(input)
    const log = await auditLogFor(input)
    const rotation = await withDatabase(input, db =>
      rotateSecrets(db, log, keys.encryption!, {
        actor: commandLineActor(),
        onProgress: (table, rotated) => input.note(`${table}: ${rotated}`)
      })
    )
    return { data: rotation, text: reportOf(rotation), failed: rotation.left.length > 0 }
  }
})

export const secretsStatus = defineCommand({
  name: 'secrets status',
  summary:
    'Show the age of each secret, whether it is due, how many instances have it, and how many values each key encrypts.',
  printsData: true,
  async run(input) {
    const { withDatabase } = await import('./database.ts')
    const { noteSecrets, readSecretAges } = await import('../domain/secrets/ledger.ts')
    const { countSealed } = await import('../domain/secrets/rotation.ts')
    const { secretsOf } = await import('../wiring/secrets.ts')
    const { holdersOf } = await import('./rotation/held.ts')
    const config = await withKeys(input)
    const log = await auditLogFor(input)
    const ring = config.keys.encryption!
    return withDatabase(input, async db => {
      await noteSecrets(db, log, ring, secretsOf(config), commandLineActor())
      const ages = await readSecretAges(db, ring, secretsOf(config))
      const configured = ages.filter(({ isConfigured }) => isConfigured).map(({ name }) => name)
      const holders = await holdersOf(db, config, configured)
      const secrets = ages.map(age => ({ ...age, ...(holders.get(age.name) ?? NOBODY) }))
      const sealed = await countSealed(db, ring)
      const overdue = secrets.filter(({ state }) => state === 'overdue').map(({ name }) => name)
      return { data: { secrets, sealed, overdue }, text: `${agesOf(secrets)}\n\n${sealsOf(sealed)}` }
    })
  }
})

const NOBODY: Holders = { held: 0, running: 0 }

interface RotateOptions {
  readonly 'value-file'?: string
  readonly finish?: boolean
  readonly wait?: string
}

async function rotateOne(input: Input, given: string, options: RotateOptions): Promise<Rotated> {
  const seconds = options.wait ?? '120'
  if (!/^\d{1,5}$/.test(seconds)) throw new UsageError('--wait takes seconds, such as 120')
  const { withDatabase } = await import('./database.ts')
  const { rotateClass } = await import('./rotation/rotate.ts')
  const { config, note, settings } = input
  const rotation = { valueFile: options['value-file'], finish: options.finish === true, wait: Number(seconds) }
  return withDatabase(input, db => rotateClass(given, { config, note, settings, ...rotation }, db))
}

function rotationOf({ variable, set, held, running }: Rotated): string {
  if (set !== undefined) return `${variable}=${set}`
  return running === 0
    ? `${variable}: replaced`
    : `${variable}: replaced, and in use by ${held} of ${running} running instances`
}

function reportOf({ keyId, rotated, damaged, left }: Rotation): string {
  const done = Object.entries(rotated).map(([name, rows]) => `${name}: ${rows} re-encrypted with key "${keyId}"`)
  const brokenIn = (name: string) => damaged.filter(({ table }) => table === name).length
  const remaining = left
    .filter(({ key, table, rows }) => key === 'missing' || rows > brokenIn(table))
    .map(({ table, keyId, rows, key }) =>
      key === 'missing'
        ? `${table}: ${rows} encrypted with key "${keyId}", which is not in ENCRYPTION_KEYS; add that key again and repeat the command`
        : `${table}: ${rows} still encrypted with key "${keyId}"; repeat the command`
    )
  const broken = damaged.map(({ table, id }) => `${table}: ${id} cannot be decrypted; its content is lost`)
  return [...done, ...remaining, ...broken].join('\n')
}

function agesOf(secrets: readonly (SecretAge & Holders)[]): string {
  const rows = secrets.map(({ name, keyIds, since, ageDays, scheduleDays, state, held, running }) => [
    name,
    state,
    since?.toISOString().slice(0, 10) ?? '-',
    ageDays === null ? '-' : `${ageDays} of ${scheduleDays}`,
    running === 0 ? '-' : `${held} of ${running}`,
    keyIds.join(' ')
  ])
  return table(['secret', 'state', 'since', 'days', 'held by', 'keys'], rows)
}

function sealsOf(sealed: readonly SealedCount[]): string {
  const rows = sealed.map(({ table, keyId, rows, key }) => [table, keyId, key, String(rows)])
  return table(['sealed', 'with', 'key', 'rows'], rows)
}
