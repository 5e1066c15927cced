import { Type } from '@sinclair/typebox'
import { type PostgresTarget, postgresTarget, postgresTargets } from '../../plugins/lib/postgres.ts'
import { redisTarget } from '../../plugins/redis/target.ts'
import { asMainRole, inTurnWith } from './roles.ts'
import { credential, section } from './section.ts'
import { isLoopback } from './values.ts'

/** Where data is stored. */
export interface DataSettings {
  readonly database: {
    readonly url: string | null
    readonly directUrl: string | null
    /** The URL of a role that may create roles; for commands, not for servers. */
    readonly adminUrl: string | null
    /** A standby near this instance, for reads, with the role that logs in at the primary. */
    readonly replicaUrl: string | null
    readonly poolMax: number
    readonly prepare: 'auto' | boolean
    /** The archive of the embedded database; null if there is none. Set once the database has started. */
    readonly archive: { readonly url: string; readonly directory: string } | null
  }
  readonly redisUrl: string | null
}

const variables = {
  DATABASE_URL: credential(
    'PostgreSQL, or a list of its hosts, a:5432,b:5432; an embedded one under DATA_DIR when unset.',
    { form: 'url' }
  ),
  DATABASE_REPLICA_URL: credential(
    'A standby of DATABASE_URL near this instance, for reads; the role of DATABASE_URL unless it names one.',
    { form: 'url', staysLocal: true }
  ),
  DATABASE_DIRECT_URL: credential('PostgreSQL without the transaction pooler, for migrations and LISTEN.', {
    form: 'url'
  }),
  DATABASE_ADMIN_URL: credential(
    'Command line: PostgreSQL as a role that may create roles, for `secrets rotate database`.',
    {
      form: 'url'
    }
  ),
  DATABASE_POOL_MAX: Type.Integer({ default: 10, minimum: 1, maximum: 500, description: 'Connections per instance.' }),
  DATABASE_PREPARE: Type.Union([Type.Literal('auto'), Type.Literal('on'), Type.Literal('off')], {
    default: 'auto',
    description: 'Prepared statements: auto, on or off. auto: unless behind a pooler.'
  }),
  REDIS_URL: credential('Redis or Valkey, for limits shared by all instances.', { form: 'url' })
}

export default section(variables, ({ env, environment, production, parse, refuse }) => {
  const targets = {
    DATABASE_URL: parse('DATABASE_URL', postgresTargets) ?? [],
    DATABASE_DIRECT_URL: parse('DATABASE_DIRECT_URL', postgresTargets) ?? [],
    DATABASE_ADMIN_URL: parse('DATABASE_ADMIN_URL', postgresTargets) ?? [],
    DATABASE_REPLICA_URL: [parse('DATABASE_REPLICA_URL', postgresTarget)].filter(target => target !== null)
  }
  parse('REDIS_URL', redisTarget)
  if (env.DATABASE_DIRECT_URL !== undefined && env.DATABASE_URL === undefined)
    refuse('DATABASE_DIRECT_URL: bypasses the pooler of DATABASE_URL, which is not set')
  if (env.DATABASE_REPLICA_URL !== undefined && env.DATABASE_URL === undefined)
    refuse('DATABASE_REPLICA_URL: is a standby of DATABASE_URL, which is not set')
  const [hosts, directHosts] = [targets.DATABASE_URL.length, targets.DATABASE_DIRECT_URL.length]
  if (directHosts > 0 && hosts > 0 && directHosts !== hosts)
    refuse(
      `DATABASE_DIRECT_URL: names ${directHosts} hosts and DATABASE_URL ${hosts}; list the same hosts in the same order`
    )
  if (production) {
    if (env.DATABASE_URL === undefined) refuse(`DATABASE_URL: is required in ${environment}`)
    for (const [name, named] of Object.entries(targets)) if (!named.every(isVerified)) refuse(`${name}: ${UNVERIFIED}`)
    if (env.REDIS_URL?.startsWith('redis://') && !isLoopback(env.REDIS_URL) && !hasPassword(env.REDIS_URL))
      refuse('REDIS_URL: a remote Redis needs a password, or rediss://')
  }
  // A role that may log in at the primary may log in at its standbys, too.
  const main = env.DATABASE_URL ?? ''
  const alike = (name: keyof typeof targets) => {
    const url = env[name]
    // A URL that cannot be read has been refused above.
    const areRead = hosts > 0 && targets[name].length > 0
    return url !== undefined && areRead ? inTurnWith(main, url) : url
  }
  const replica = alike('DATABASE_REPLICA_URL')
  const areBothRead = hosts > 0 && targets.DATABASE_REPLICA_URL.length > 0
  const settings: DataSettings = {
    database: {
      url: env.DATABASE_URL ?? null,
      directUrl: alike('DATABASE_DIRECT_URL') ?? env.DATABASE_URL ?? null,
      adminUrl: env.DATABASE_ADMIN_URL ?? null,
      replicaUrl: replica === undefined || !areBothRead ? null : asMainRole(main, replica),
      poolMax: env.DATABASE_POOL_MAX,
      prepare: env.DATABASE_PREPARE === 'auto' ? 'auto' : env.DATABASE_PREPARE === 'on',
      archive: null
    },
    redisUrl: env.REDIS_URL ?? null
  }
  return settings
})

const UNVERIFIED =
  'must verify the server: set sslmode=verify-full, and sslrootcert=<file> for your own certificate authority'

/**
 * `prefer` falls back to plain text when told that the server has no TLS, and `require` encrypts without checking the
 * server's name. A socket never leaves this machine.
 */
function isVerified({ ssl, path }: PostgresTarget): boolean {
  return (typeof ssl === 'object' && ssl.rejectUnauthorized !== false) || path !== undefined
}

function hasPassword(url: string): boolean {
  return /\/\/[^@/]*:[^@/]+@/.test(url)
}
