import { type SQL, type SQLWrapper, sql } from 'drizzle-orm'
import {
  bigint,
  boolean,
  check,
  customType,
  date,
  type ExtraConfigColumn,
  foreignKey,
  index,
  integer,
  jsonb,
  numeric,
  type PgDatabase,
  pgTable,
  primaryKey,
  smallint,
  text,
  timestamp,
  uniqueIndex,
  uuid,
  varchar
} from 'drizzle-orm/pg-core'
import type { PostgresJsQueryResultHKT } from 'drizzle-orm/postgres-js'

/** A database with these tables, or a transaction in it. */
export type Db = PgDatabase<PostgresJsQueryResultHKT, typeof import('./schema.ts')>

const bytea = customType<{ data: Buffer }>({ dataType: () => 'bytea' })

const id = () => uuid().primaryKey().default(sql`gen_random_uuid()`)
const instant = () => timestamp({ withTimezone: true, mode: 'date' })
const createdAt = () => instant().notNull().defaultNow()
/** Kept current by the trigger `touch_updated_at` of its table, so that no statement can forget it. */
const updatedAt = () => instant().notNull().defaultNow()

/** Renders a closed set of strings as the right-hand side of a CHECK: `in ('a', 'b')`. */
const oneOf = (values: readonly string[]) => sql.raw(`in (${values.map(value => `'${value}'`).join(', ')})`)

export const ROLES = ['member', 'admin', 'owner'] as const
export type Role = (typeof ROLES)[number]

export const SCOPES = ['read', 'deploy', 'admin'] as const
export type Scope = (typeof SCOPES)[number]

export const SIGN_IN_METHODS = ['github', 'password'] as const
export type SignInMethod = (typeof SIGN_IN_METHODS)[number]

export const PLANS = ['free', 'starter', 'pro'] as const
export type Plan = (typeof PLANS)[number]

export const AUDIT_TYPES = ['auth', 'team', 'app', 'deployment', 'billing', 'admin'] as const
export type AuditType = (typeof AUDIT_TYPES)[number]

export const AUDIT_OUTCOMES = ['success', 'failure', 'denied'] as const
export type AuditOutcome = (typeof AUDIT_OUTCOMES)[number]

export const DEPLOYMENT_STATUSES = [
  'pending',
  'cloning',
  'analyzing',
  'building',
  'pushing',
  'built',
  'deploying',
  'live',
  'build_failed',
  'deploy_failed',
  'cancelled',
  'superseded'
] as const
export type DeploymentStatus = (typeof DEPLOYMENT_STATUSES)[number]

/** The statuses of a deployment that is still on its way. `idx_deployments_active` covers exactly these. */
export const ACTIVE_DEPLOYMENT_STATUSES = [
  'pending',
  'cloning',
  'analyzing',
  'building',
  'pushing',
  'built',
  'deploying'
] as const satisfies readonly DeploymentStatus[]

/** Why a deployment has failed, for whoever deployed; the codes of the API's errors with the same meaning. */
export const DEPLOYMENT_ERRORS = ['BUILD_FAILED', 'DEPLOY_FAILED'] as const

export const DEPLOYMENT_TRIGGERS = ['manual', 'webhook', 'rollback', 'api', 'cli'] as const
export type DeploymentTrigger = (typeof DEPLOYMENT_TRIGGERS)[number]

/** The settings of an app that a deployment runs with, as they were when it began. */
export interface DeploymentConfig {
  region: string
  /** Where its source came from, without credentials. */
  repository?: string
  /** Also a commit that the app's branch does not have: an admin of the team has said so. */
  anyCommit?: true
}

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const
export const LOG_SOURCES = ['app', 'system', 'build'] as const

export const WEBHOOK_SOURCES = ['github', 'stripe'] as const
export type WebhookSource = (typeof WEBHOOK_SOURCES)[number]
export const WEBHOOK_OUTCOMES = ['processed', 'ignored', 'failed'] as const

export const USAGE_METRICS = ['machine_hours', 'bandwidth_gb', 'builds'] as const

/** The newest push to the branch of an app that has reached it: what tells a push that comes late from a new one. */
export interface LastPush {
  repoId: number
  ref: string
  before: string
  after: string
  /** In milliseconds by GitHub's clock, which counts seconds; null: GitHub has not said. */
  pushedAt: number | null
  /** In milliseconds by ours. */
  receivedAt: number
}

export const users = pgTable('users', {
  id: id(),
  githubId: bigint({ mode: 'number' }).unique('users_github_id_unique'),
  username: varchar({ length: 255 }).notNull(),
  email: varchar({ length: 255 }),
  /** When the address was shown to be the user's. Until then it says nothing about who they are. */
  emailVerifiedAt: instant(),
  avatarUrl: varchar({ length: 500 }),
  /** An operator of the whole platform; says nothing about roles in teams. */
  isAdmin: boolean().notNull().default(false),
  /** When the account is erased, once its owner has asked for that; nobody can use it in the meantime. */
  eraseAfter: instant(),
  /** SHA-256 of the code that undoes the request until then. */
  restoreHash: bytea(),
  createdAt: createdAt(),
  updatedAt: updatedAt()
})

export const teams = pgTable(
  'teams',
  {
    id: id(),
    name: varchar({ length: 255 }).notNull(),
    slug: varchar({ length: 63 }).notNull().unique(),
    plan: varchar({ length: 50, enum: PLANS }).notNull().default('free'),
    stripeCustomerId: varchar({ length: 255 }),
    stripeSubscriptionId: varchar({ length: 255 }),
    /** Counts the changes of this row; its ETag, and what If-Match is compared with. */
    version: integer().notNull().default(1),
    createdAt: createdAt(),
    updatedAt: updatedAt()
  },
  table => [check('teams_plan_known', sql`${table.plan} ${oneOf(PLANS)}`)]
)

export const teamMembers = pgTable(
  'team_members',
  {
    teamId: uuid()
      .notNull()
      .references(() => teams.id, { onDelete: 'cascade' }),
    userId: uuid()
      .notNull()
      .references(() => users.id, { onDelete: 'cascade' }),
    role: varchar({ length: 50, enum: ROLES }).notNull().default('member'),
    createdAt: createdAt()
  },
  table => [
    primaryKey({ columns: [table.teamId, table.userId] }),
    index('idx_team_members_user_id').on(table.userId),
    check('team_members_role_known', sql`${table.role} ${oneOf(ROLES)}`)
  ]
)

/**
 * Pending until one of three instants: accepted, revoked, or the end of its time. The address is kept in lower case. Of
 * pending ones there is one per team and address.
 */
export const teamInvitations = pgTable(
  'team_invitations',
  {
    id: id(),
    teamId: uuid()
      .notNull()
      .references(() => teams.id, { onDelete: 'cascade' }),
    email: varchar({ length: 255 }).notNull(),
    role: varchar({ length: 50, enum: ROLES }).notNull(),
    invitedBy: uuid().references(() => users.id, { onDelete: 'set null' }),
    /** SHA-256 of the token in the link. The token itself is shown once and stored nowhere. */
    tokenHash: bytea().notNull().unique('team_invitations_token_hash_unique'),
    expiresAt: instant().notNull(),
    acceptedAt: instant(),
    acceptedBy: uuid().references(() => users.id, { onDelete: 'set null' }),
    revokedAt: instant(),
    createdAt: createdAt()
  },
  table => [
    index('idx_team_invitations_team_id').on(
      table.teamId,
      table.createdAt.desc().nullsFirst(),
      table.id.desc().nullsFirst()
    ),
    index('idx_team_invitations_email').on(table.email),
    index('idx_team_invitations_expires_at').on(table.expiresAt),
    uniqueIndex('team_invitations_pending_unique')
      .on(table.teamId, table.email)
      .where(sql`${table.acceptedAt} is null and ${table.revokedAt} is null`),
    check('team_invitations_role_known', sql`${table.role} in ('member', 'admin')`)
  ]
)

/** Where the GitHub App is installed, and the one team that this serves. */
export const githubInstallations = pgTable(
  'github_installations',
  {
    id: id(),
    teamId: uuid()
      .notNull()
      .references(() => teams.id, { onDelete: 'cascade' }),
    /** GitHub's number of it. One team has it: whoever binds it has shown GitHub's word that it is theirs. */
    installationId: bigint({ mode: 'number' }).notNull().unique('github_installations_installation_id_unique'),
    accountType: varchar({ length: 50, enum: ['User', 'Organization'] }).notNull(),
    accountLogin: varchar({ length: 255 }).notNull(),
    accountId: bigint({ mode: 'number' }).notNull(),
    /** Since when GitHub lets us do nothing there. */
    suspendedAt: instant(),
    createdAt: createdAt(),
    updatedAt: updatedAt()
  },
  table => [
    index('idx_github_installations_team_id').on(table.teamId),
    index('idx_github_installations_account_login').on(table.accountLogin)
  ]
)

export const apps = pgTable(
  'apps',
  {
    id: id(),
    teamId: uuid()
      .notNull()
      .references(() => teams.id, { onDelete: 'cascade' }),
    name: varchar({ length: 255 }).notNull(),
    /** Unique over all teams: an app is served at `<slug>.` of one shared domain. */
    slug: varchar({ length: 63 }).notNull().unique(),
    githubRepo: varchar({ length: 500 }),
    /** GitHub's number of that repository, by which pushes are matched: names can be taken over by others. */
    githubRepoId: bigint({ mode: 'number' }),
    /** The installation of the GitHub App that reaches it. Null: it is public, or there is no GitHub App. */
    githubInstallationId: bigint({ mode: 'number' }),
    githubBranch: varchar({ length: 255 }).notNull().default('main'),
    /** Where git clones from when the repository is not on GitHub. */
    gitUrl: varchar({ length: 500 }),
    /** The directory of the repository that the app is in; null: all of it. */
    rootDirectory: varchar({ length: 255 }),
    /** What the app is called at Fly; null until it is deployed there. */
    flyAppId: varchar({ length: 255 }),
    region: varchar({ length: 10 })
      .notNull()
      .default('iad')
      .references(() => regions.code),
    autoDeploy: boolean().notNull().default(true),
    lastPush: jsonb().$type<LastPush>(),
    /** Counts the changes of this row; its ETag, and what If-Match is compared with. */
    version: integer().notNull().default(1),
    createdAt: createdAt(),
    updatedAt: updatedAt()
  },
  table => [
    index('idx_apps_team_id_created_at').on(
      table.teamId,
      table.createdAt.desc().nullsFirst(),
      table.id.desc().nullsFirst()
    ),
    index('idx_apps_github_repo').on(table.githubRepo),
    index('idx_apps_github_installation_id').on(table.githubInstallationId, table.githubRepoId),
    foreignKey({
      name: 'apps_github_installation_id_fk',
      columns: [table.githubInstallationId],
      foreignColumns: [githubInstallations.installationId]
    }).onDelete('set null')
  ]
)

export const envVars = pgTable(
  'env_vars',
  {
    id: id(),
    appId: uuid()
      .notNull()
      .references(() => apps.id, { onDelete: 'cascade' }),
    key: varchar({ length: 255 }).notNull(),
    /** AES-256-GCM ciphertext with its tag appended; the additional data binds it to its app and key. */
    valueEncrypted: bytea().notNull(),
    nonce: bytea().notNull(),
    /** Which key of the ENCRYPTION_KEYS ring sealed the value. */
    keyId: varchar({ length: 64 }).notNull(),
    /** Counts its values; deployments say which of them they ran with. */
    version: integer().notNull().default(1),
    /** Whether builds see it, too. */
    buildTime: boolean().notNull().default(false),
    createdAt: createdAt(),
    updatedAt: updatedAt()
  },
  table => [uniqueIndex('env_vars_app_id_key_unique').on(table.appId, table.key)]
)

export const deployments = pgTable(
  'deployments',
  {
    id: id(),
    appId: uuid()
      .notNull()
      .references(() => apps.id, { onDelete: 'cascade' }),
    triggeredBy: uuid().references(() => users.id, { onDelete: 'set null' }),
    trigger: varchar({ length: 50, enum: DEPLOYMENT_TRIGGERS }).notNull().default('manual'),
    status: varchar({ length: 50, enum: DEPLOYMENT_STATUSES }).notNull().default('pending'),
    commitSha: varchar({ length: 40 }),
    commitMessage: text(),
    commitAuthor: varchar({ length: 255 }),
    branch: varchar({ length: 255 }),
    /** What runs: an image by digest. Known once it is built, or from the start. */
    image: varchar({ length: 500 }),
    /** The deployment whose image this one brings back. */
    rollbackOf: uuid(),
    /** Which value of each env var it runs with: names and versions. */
    envVersions: jsonb().$type<Record<string, number>>(),
    /** The settings of the app that it runs with. */
    config: jsonb().$type<DeploymentConfig>(),
    errorCode: varchar({ length: 50, enum: DEPLOYMENT_ERRORS }),
    errorMessage: text(),
    /** The last that the program said which has failed, redacted. */
    errorLog: text(),
    /** Drawn anew by each worker that takes it up; what an earlier one still writes is refused. */
    claim: uuid(),
    buildStartedAt: instant(),
    buildFinishedAt: instant(),
    deployStartedAt: instant(),
    deployFinishedAt: instant(),
    createdAt: createdAt(),
    updatedAt: updatedAt()
  },
  table => [
    index('idx_deployments_app_id_created_at').on(
      table.appId,
      table.createdAt.desc().nullsFirst(),
      table.id.desc().nullsFirst()
    ),
    uniqueIndex('deployments_live_unique').on(table.appId).where(sql`${table.status} = 'live'`),
    check('deployments_error_code_known', sql`${table.errorCode} ${oneOf(DEPLOYMENT_ERRORS)}`),
    check('deployments_status_known', sql`${table.status} ${oneOf(DEPLOYMENT_STATUSES)}`),
    check('deployments_trigger_known', sql`${table.trigger} ${oneOf(DEPLOYMENT_TRIGGERS)}`)
  ]
)

/** The env of a deployment that runs or is about to: all of it, sealed. It goes when the deployment is over. */
export const deploymentSecrets = pgTable('deployment_secrets', {
  deploymentId: uuid()
    .primaryKey()
    .references(() => deployments.id, { onDelete: 'cascade' }),
  valueEncrypted: bytea().notNull(),
  nonce: bytea().notNull(),
  keyId: varchar({ length: 64 }).notNull()
})

/** What a build and a rollout have said, in order and redacted. */
export const buildLogChunks = pgTable(
  'build_log_chunks',
  {
    deploymentId: uuid()
      .notNull()
      .references(() => deployments.id, { onDelete: 'cascade' }),
    seq: integer().notNull(),
    /** The status in which it was said. */
    phase: varchar({ length: 50, enum: DEPLOYMENT_STATUSES }).notNull(),
    text: text().notNull(),
    createdAt: createdAt()
  },
  table => [
    primaryKey({ columns: [table.deploymentId, table.seq] }),
    index('idx_build_log_chunks_created_at').on(table.createdAt)
  ]
)

/** What running apps have said. */
export const appLogs = pgTable(
  'app_logs',
  {
    id: bigint({ mode: 'number' }).primaryKey().generatedAlwaysAsIdentity(),
    appId: uuid()
      .notNull()
      .references(() => apps.id, { onDelete: 'cascade' }),
    deploymentId: uuid(),
    /** When it was said, by the clock of the machine that ran the app. */
    at: instant().notNull(),
    level: varchar({ length: 10, enum: LOG_LEVELS }).notNull(),
    source: varchar({ length: 10, enum: LOG_SOURCES }).notNull(),
    region: varchar({ length: 10 }),
    instance: varchar({ length: 64 }),
    message: text().notNull()
  },
  table => [
    index('idx_app_logs_app_id_at').on(table.appId, table.at.desc(), table.id.desc()),
    index('idx_app_logs_app_id_id').on(table.appId, table.id),
    index('idx_app_logs_at').on(table.at),
    check('app_logs_level_known', sql`${table.level} ${oneOf(LOG_LEVELS)}`),
    check('app_logs_source_known', sql`${table.source} ${oneOf(LOG_SOURCES)}`)
  ]
)

/** Apps that were deleted here and still have to be taken down where they run. A trigger writes these rows. */
export const appTombstones = pgTable('app_tombstones', {
  appId: uuid().primaryKey(),
  slug: varchar({ length: 63 }).notNull(),
  flyAppId: varchar({ length: 255 }),
  createdAt: createdAt()
})

/** What other services have told us, as it came and once each. */
export const webhookDeliveries = pgTable(
  'webhook_deliveries',
  {
    source: varchar({ length: 20, enum: WEBHOOK_SOURCES }).notNull(),
    deliveryId: varchar({ length: 100 }).notNull(),
    event: varchar({ length: 100 }).notNull(),
    /** The body, byte for byte: as text it might be none that the database takes. */
    payload: bytea().notNull(),
    receivedAt: createdAt(),
    /** When a job was done with it, whatever came of it. */
    processedAt: instant(),
    outcome: varchar({ length: 20, enum: WEBHOOK_OUTCOMES }),
    error: text()
  },
  table => [
    primaryKey({ columns: [table.source, table.deliveryId] }),
    index('idx_webhook_deliveries_received_at').on(table.receivedAt)
  ]
)

/** Since when each secret of the configuration is in use, by a fingerprint that tells nothing of it. */
export const secretLedger = pgTable(
  'secret_ledger',
  {
    name: varchar({ length: 64 }).notNull(),
    fingerprint: varchar({ length: 64 }).notNull(),
    firstSeenAt: createdAt()
  },
  table => [primaryKey({ columns: [table.name, table.fingerprint] })]
)

export const usageRecords = pgTable(
  'usage_records',
  {
    id: id(),
    /** Of no foreign key: what was billed must be kept for years, also of a team that is gone. */
    teamId: uuid().notNull(),
    appId: uuid().references(() => apps.id, { onDelete: 'set null' }),
    metric: varchar({ length: 50, enum: USAGE_METRICS }).notNull(),
    quantity: numeric({ precision: 20, scale: 6 }).notNull(),
    recordedAt: createdAt(),
    /** The first day of the UTC month that is billed. */
    billingPeriod: date().notNull()
  },
  table => [
    index('idx_usage_records_team_id_billing_period').on(table.teamId, table.billingPeriod),
    index('idx_usage_records_metric_billing_period').on(table.metric, table.billingPeriod),
    check('usage_records_metric_known', sql`${table.metric} ${oneOf(USAGE_METRICS)}`)
  ]
)

/** Where apps can run. A row that is no longer available stays, because apps refer to it. */
export const regions = pgTable('regions', {
  code: varchar({ length: 10 }).primaryKey(),
  name: varchar({ length: 255 }).notNull(),
  city: varchar({ length: 255 }).notNull(),
  country: varchar({ length: 255 }).notNull(),
  continent: varchar({ length: 50 }).notNull(),
  latitude: numeric({ precision: 10, scale: 6, mode: 'number' }).notNull(),
  longitude: numeric({ precision: 10, scale: 6, mode: 'number' }).notNull(),
  available: boolean().notNull().default(true)
})

export const apiTokens = pgTable(
  'api_tokens',
  {
    id: id(),
    userId: uuid()
      .notNull()
      .references(() => users.id, { onDelete: 'cascade' }),
    name: varchar({ length: 255 }).notNull(),
    /** SHA-256 of the whole token. The token itself is shown once and stored nowhere. */
    tokenHash: bytea().notNull().unique('api_tokens_token_hash_unique'),
    /** The first characters of the token, by which its owner recognises it. */
    prefix: varchar({ length: 16 }).notNull(),
    scopes: varchar({ length: 20, enum: SCOPES }).array().notNull(),
    /** The only team that it reaches; null: all of its user's. */
    teamId: uuid().references(() => teams.id, { onDelete: 'cascade' }),
    expiresAt: instant(),
    lastUsedAt: instant(),
    /** The address of the last use. */
    lastUsedFrom: varchar({ length: 50 }),
    revokedAt: instant(),
    createdAt: createdAt()
  },
  table => [index('idx_api_tokens_user_id').on(table.userId), index('idx_api_tokens_team_id').on(table.teamId)]
)

/** Where a token has been used from: an IPv4 address, or the /64 of an IPv6 one. */
export const tokenAddresses = pgTable(
  'token_addresses',
  {
    tokenId: uuid()
      .notNull()
      .references(() => apiTokens.id, { onDelete: 'cascade' }),
    address: varchar({ length: 50 }).notNull(),
    firstSeenAt: createdAt()
  },
  table => [primaryKey({ columns: [table.tokenId, table.address] })]
)

/** Who is signed in. A session that has ended is a row that is gone. */
export const sessions = pgTable(
  'sessions',
  {
    id: id(),
    userId: uuid()
      .notNull()
      .references(() => users.id, { onDelete: 'cascade' }),
    /** SHA-256 of what the cookie holds. */
    secretHash: bytea().notNull().unique('sessions_secret_hash_unique'),
    method: varchar({ length: 20, enum: SIGN_IN_METHODS }).notNull(),
    /** Whether its user was an operator when it began: nobody becomes one within a session. */
    asOperator: boolean().notNull(),
    ip: varchar({ length: 50 }),
    userAgent: varchar({ length: 512 }),
    lastSeenAt: createdAt(),
    /** When it ends if it is not used until then. */
    idleUntil: instant().notNull(),
    /** When it ends however much it is used. */
    expiresAt: instant().notNull(),
    /** When its user has signed in. */
    createdAt: createdAt()
  },
  table => [
    index('idx_sessions_user_id').on(table.userId),
    check('sessions_method_known', sql`${table.method} ${oneOf(SIGN_IN_METHODS)}`)
  ]
)

/** Sign-ins that were begun here and have come back: none does twice. */
export const spentSignIns = pgTable(
  'spent_sign_ins',
  {
    hash: bytea().primaryKey(),
    /** From when on it would be refused as too late anyway. */
    expiresAt: instant().notNull()
  },
  table => [index('idx_spent_sign_ins_expires_at').on(table.expiresAt)]
)

/** Users who sign in with a password of ours. */
export const localAccounts = pgTable('local_accounts', {
  userId: uuid()
    .primaryKey()
    .references(() => users.id, { onDelete: 'cascade' }),
  /** In lower case. */
  login: varchar({ length: 255 }).notNull().unique('local_accounts_login_unique'),
  /** Argon2id in PHC's string format; null until the first one is set. */
  passwordHash: varchar({ length: 255 }),
  changedAt: instant(),
  /** SHA-256 of the code by which a password can be set once, and until when. */
  resetHash: bytea(),
  resetUntil: instant(),
  createdAt: createdAt()
})

/** How often a password was guessed wrong, by what is counted, of which this is a SHA-256. */
export const signInFailures = pgTable(
  'sign_in_failures',
  {
    key: bytea().primaryKey(),
    count: integer().notNull(),
    /** Nobody whom this counts may guess again before. */
    blockedUntil: instant().notNull(),
    lastAt: instant().notNull()
  },
  table => [index('idx_sign_in_failures_last_at').on(table.lastAt)]
)

const newestFirst = (at: ExtraConfigColumn, id: ExtraConfigColumn) =>
  [at.desc().nullsFirst(), id.desc().nullsFirst()] as const

/**
 * Append-only: a trigger refuses UPDATE, DELETE and TRUNCATE. Retention and erasure are a transaction of their own that
 * begins with `set local rhone.audit_purge = 'on'`. No foreign keys: a row outlives what it speaks of, so it keeps ids
 * and the names they had.
 *
 * Partitioned by UTC month, which drizzle does not know: see the migration, and `ensure_audit_partitions`.
 */
export const auditLogs = pgTable(
  'audit_logs',
  {
    id: uuid().notNull().default(sql`gen_random_uuid()`),
    eventType: varchar({ length: 50, enum: AUDIT_TYPES }).notNull(),
    action: varchar({ length: 50 }).notNull(),
    outcome: varchar({ length: 20, enum: AUDIT_OUTCOMES }).notNull().default('success'),
    userId: uuid(),
    /** The actor's name at the time; of an automatic action, what acted. */
    actor: varchar({ length: 255 }),
    teamId: uuid(),
    appId: uuid(),
    resource: varchar({ length: 100 }).notNull(),
    resourceId: varchar({ length: 255 }),
    resourceName: varchar({ length: 255 }),
    details: jsonb().$type<Record<string, unknown>>(),
    ip: varchar({ length: 50 }),
    userAgent: text(),
    requestId: varchar({ length: 64 }),
    /** HMAC over all of the row, by a key that is not in the database. */
    mac: bytea(),
    createdAt: createdAt()
  },
  table => [
    primaryKey({ columns: [table.id, table.createdAt] }),
    index('idx_audit_logs_user_id').on(table.userId, ...newestFirst(table.createdAt, table.id)),
    index('idx_audit_logs_team_id').on(table.teamId, ...newestFirst(table.createdAt, table.id)),
    index('idx_audit_logs_app_id').on(table.appId, ...newestFirst(table.createdAt, table.id)),
    index('idx_audit_logs_event_type').on(table.eventType, ...newestFirst(table.createdAt, table.id)),
    index('idx_audit_logs_created_at').on(...newestFirst(table.createdAt, table.id)),
    index('idx_audit_logs_actor').on(table.actor, ...newestFirst(table.createdAt, table.id)),
    index('idx_audit_logs_action').on(table.action, ...newestFirst(table.createdAt, table.id)),
    index('idx_audit_logs_resource_id').on(table.resourceId, ...newestFirst(table.createdAt, table.id)),
    index('idx_audit_logs_ip').on(table.ip, ...newestFirst(table.createdAt, table.id)),
    index('idx_audit_logs_words').using('gin', auditWords(table)),
    check('audit_logs_event_type_known', sql`${table.eventType} ${oneOf(AUDIT_TYPES)}`),
    check('audit_logs_outcome_known', sql`${table.outcome} ${oneOf(AUDIT_OUTCOMES)}`)
  ]
)

/** What a search for text looks at: the words of everything that a row calls by name. */
export function auditWords(row: Record<'actor' | 'action' | 'resource' | 'resourceName' | 'details', SQLWrapper>): SQL {
  return sql`audit_words(${row.actor}, ${row.action}, ${row.resource}, ${row.resourceName}, ${row.details})`
}

/** Rows that are not in the chain yet; a trigger puts every new one here, in the statement that writes it. */
export const auditUnsealed = pgTable('audit_unsealed', {
  position: bigint({ mode: 'number' }).primaryKey().generatedAlwaysAsIdentity(),
  rowId: uuid().notNull(),
  rowCreatedAt: instant().notNull(),
  /** Since when it waits, whatever instant the row itself says. */
  notedAt: instant().notNull().default(sql`clock_timestamp()`)
})

/** The chain: a link per row of the audit log, each over the one before. `docs/decisions/0013-audit-chain.md` */
export const auditSeals = pgTable(
  'audit_seals',
  {
    seq: bigint({ mode: 'number' }).primaryKey(),
    rowId: uuid().notNull(),
    rowCreatedAt: instant().notNull(),
    /** Keeps what is personal in the row from being guessed by its digest. Null once the row was pseudonymised. */
    salt: bytea(),
    /** Of what is personal in the row, with the salt. It stays when the person goes. */
    personalDigest: bytea().notNull(),
    /** Of all of the row. Null, as the next three are, in links that were made before there were MACs. */
    rowDigest: bytea(),
    /** Whether the row's MAC held when it was sealed. */
    isGenuine: boolean(),
    /** Whether the link before this one was authenticated when this one was added. */
    isContinuous: boolean(),
    /** HMAC over the digest, at the last link of each batch; it vouches for all links up to this one. */
    mac: bytea(),
    digest: bytea().notNull(),
    /** HMAC over what was left of the row when its person was erased, and the key that made it. */
    erasure: bytea(),
    erasureKeyId: varchar({ length: 64 })
  },
  table => [index('idx_audit_seals_row').on(table.rowCreatedAt, table.rowId)]
)

/** Links of the chain that were signed, so that who can write here still cannot make up a chain. */
export const auditCheckpoints = pgTable('audit_checkpoints', {
  seq: bigint({ mode: 'number' }).primaryKey(),
  digest: bytea().notNull(),
  /** Rows before this instant may be gone: retention has removed them. Null while it has removed nothing. */
  retainedFrom: instant(),
  keyId: varchar({ length: 64 }).notNull(),
  signature: bytea().notNull(),
  createdAt: createdAt()
})

/** One row: whether the platform is closed. */
export const maintenanceState = pgTable(
  'maintenance_state',
  {
    id: smallint().primaryKey().default(1),
    enabled: boolean().notNull().default(false),
    message: text(),
    /** Retry-After while closed, in seconds. */
    retryAfter: integer().notNull().default(300),
    /** When the platform reopens by itself. */
    until: instant(),
    /** When it was closed; null while open. */
    since: instant(),
    /** Who changed it last. */
    changedBy: varchar({ length: 255 }),
    updatedAt: updatedAt()
  },
  table => [check('maintenance_state_single_row', sql`${table.id} = 1`)]
)

/** Replies to unsafe requests that carried an Idempotency-Key, written in the transaction of the change itself. */
export const idempotencyKeys = pgTable(
  'idempotency_keys',
  {
    /** Whose key it is: the user's id. */
    principal: varchar({ length: 64 }).notNull(),
    key: varchar({ length: 255 }).notNull(),
    /** HMAC of method, path and body: the same key with another request is a mistake of the client. */
    fingerprint: bytea().notNull(),
    status: smallint().notNull(),
    headers: jsonb().$type<Record<string, string>>().notNull(),
    body: jsonb(),
    /** The team that the reply is about: at a replay, the caller must still have the role for it. */
    subject: varchar({ length: 64 }),
    createdAt: createdAt()
  },
  table => [
    primaryKey({ columns: [table.principal, table.key] }),
    index('idx_idempotency_keys_created_at').on(table.createdAt)
  ]
)

/** Server errors by code and route, counted per hour; what the operators' dashboard shows as recent errors. */
export const errorEvents = pgTable(
  'error_events',
  {
    hour: instant().notNull(),
    code: varchar({ length: 50 }).notNull(),
    route: varchar({ length: 255 }).notNull(),
    count: integer().notNull(),
    lastRequestId: varchar({ length: 64 }),
    lastAt: instant().notNull()
  },
  table => [primaryKey({ columns: [table.hour, table.code, table.route] })]
)
