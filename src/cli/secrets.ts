import { randomBytes } from 'node:crypto'
import { generateKey } from '../config/keyring.ts'
import type { SecretAge } from '../domain/secrets/ledger.ts'
import type { Rotation, SealedCount } from '../domain/secrets/rotation.ts'
import { commandLineActor } from './actor.ts'
import { auditLogFor, withKeys } from './audit-log.ts'
import { defineCommand } from './command.ts'
import { table } from './format.ts'

export const secretsGenerate = defineCommand({
  name: 'secrets generate',
  summary: 'Print fresh keys and a metrics token, ready for the environment of a new installation.',
  printsData: true,
  async run() {
    const secrets = {
      SESSION_KEYS: generateKey(),
      ENCRYPTION_KEYS: generateKey(),
      SIGNING_KEYS: generateKey(),
      METRICS_TOKEN: randomBytes(32).toString('base64url')
    }
    const text = Object.entries(secrets).map(([name, value]) => `${name}=${value}`)
    return { data: secrets, text: text.join('\n') }
  }
})

export const secretsRotate = defineCommand({
  name: 'secrets rotate',
  summary:
    'Seal everything with the newest of ENCRYPTION_KEYS, while the servers go on; run it again if it is cut off.',
  printsData: true,
  async run(input) {
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
  summary: 'Say how old each secret of the server is, which are due, and what is sealed with which key.',
  printsData: true,
  async run(input) {
    const { withDatabase } = await import('./database.ts')
    const { noteSecrets, readSecretAges } = await import('../domain/secrets/ledger.ts')
    const { countSealed } = await import('../domain/secrets/rotation.ts')
    const { secretsOf } = await import('../wiring/secrets.ts')
    const config = await withKeys(input)
    const log = await auditLogFor(input)
    const ring = config.keys.encryption!
    return withDatabase(input, async db => {
      await noteSecrets(db, log, ring, secretsOf(config), commandLineActor())
      const secrets = await readSecretAges(db, ring, secretsOf(config))
      const sealed = await countSealed(db, ring)
      const overdue = secrets.filter(({ state }) => state === 'overdue').map(({ name }) => name)
      return { data: { secrets, sealed, overdue }, text: `${agesOf(secrets)}\n\n${sealsOf(sealed)}` }
    })
  }
})

function reportOf({ keyId, rotated, damaged, left }: Rotation): string {
  const done = Object.entries(rotated).map(([name, rows]) => `${name}: ${rows} sealed anew with key "${keyId}"`)
  const brokenIn = (name: string) => damaged.filter(({ table }) => table === name).length
  const remaining = left
    .filter(({ key, table, rows }) => key === 'missing' || rows > brokenIn(table))
    .map(({ table, keyId, rows, key }) =>
      key === 'missing'
        ? `${table}: ${rows} sealed with key "${keyId}", which is not in ENCRYPTION_KEYS; put it back and run this again`
        : `${table}: ${rows} still sealed with key "${keyId}"; run this again`
    )
  const broken = damaged.map(({ table, id }) => `${table}: ${id} does not open; what it held is lost`)
  return [...done, ...remaining, ...broken].join('\n')
}

function agesOf(secrets: readonly SecretAge[]): string {
  const rows = secrets.map(({ name, keyIds, since, ageDays, scheduleDays, state }) => [
    name,
    state,
    since?.toISOString().slice(0, 10) ?? '-',
    ageDays === null ? '-' : `${ageDays} of ${scheduleDays}`,
    keyIds.join(' ')
  ])
  return table(['secret', 'state', 'since', 'days', 'keys'], rows)
}

function sealsOf(sealed: readonly SealedCount[]): string {
  const rows = sealed.map(({ table, keyId, rows, key }) => [table, keyId, key, String(rows)])
  return table(['sealed', 'with', 'key', 'rows'], rows)
}
