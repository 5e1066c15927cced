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
/** Maintained by the table's `touch_updated_at` trigger, so that no statement can forget it. */
const updatedAt = () => instant().notNull().defaultNow()

/** Renders a closed set of strings as the right-hand side of a CHECK: `in ('a', 'b')`. */
const oneOf = (values: readonly string[]) => sql.raw(`in (${values.map(value => `'${value}'`).join(', ')})`)

export const ROLES = ['member', 'admin', 'owner'] as const
export type Role = (typeof ROLES)[number]

export const SCOPES = ['read', 'deploy', 'admin'] as const
export type Scope = (typeof SCOPES)[number]

export const SIGN_IN_METHODS = ['github', 'password', 'link'] as const
export type SignInMethod = (typeof SIGN_IN_METHODS)[number]

/** `spent`: its token has been fetched. */
export const DEVICE_LOGIN_STATUSES = ['pending', 'approved', 'denied', 'spent'] as const

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

/** The statuses of an active deployment, exactly those covered by `idx_deployments_active`. */
export const ACTIVE_DEPLOYMENT_STATUSES = [
  'pending',
  'cloning',
  'analyzing',
  'building',
  'pushing',
  'built',
  'deploying'
] as const satisfies readonly DeploymentStatus[]

/** Why a deployment failed; the same codes as the corresponding API errors. */
export const DEPLOYMENT_ERRORS = ['BUILD_FAILED', 'DEPLOY_FAILED'] as const

export const DEPLOYMENT_TRIGGERS = ['manual', 'webhook', 'rollback', 'api', 'cli'] as const
export type DeploymentTrigger = (typeof DEPLOYMENT_TRIGGERS)[number]

/** The settings of an app that a deployment runs with, as they were when it began. */
export interface DeploymentConfig {
  region: string
  /** The source repository, without credentials. */
  repository?: string
  /** An admin of the team has allowed a commit that is not on the app's branch. */
  anyCommit?: true
}

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const
export const LOG_SOURCES = ['app', 'system', 'build'] as const

export const WEBHOOK_SOURCES = ['github', 'stripe'] as const
export type WebhookSource = (typeof WEBHOOK_SOURCES)[number]
export const WEBHOOK_OUTCOMES = ['processed', 'ignored', 'failed'] as const

export const USAGE_METRICS = ['machine_hours', 'bandwidth_gb', 'builds'] as const

/** The newest push to an app's branch so far; distinguishes late deliveries from new pushes. */
export interface LastPush {
  repoId: number
  ref: string
  before: string
  after: string
  /** Milliseconds by GitHub's clock, which has a resolution of seconds; null if GitHub did not send it. */
  pushedAt: number | null
  /** Milliseconds by our clock. */
  receivedAt: number
}

export const users = pgTable('users', {
  id: id(),
  githubId: bigint({ mode: 'number' }).unique('users_github_id_unique'),
  username: varchar({ length: 255 }).notNull(),
  email: varchar({ length: 255 }),
  /** When the address was verified. Until then it proves nothing about the user. */
  emailVerifiedAt: instant(),
  avatarUrl: varchar({ length: 500 }),
  /** An operator of the whole platform; independent of team roles. */
  isAdmin: boolean().notNull().default(false),
  /** When an account whose owner requested deletion is erased. It cannot be used in the meantime. */
  eraseAfter: instant(),
  /** SHA-256 of the code that can undo the request until then. */
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
    /** Incremented with each change of the row; basis of its ETag and of If-Match. */
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
 * Pending until accepted, revoked or expired. Addresses are stored in lower case, and there is at most one pending
 * invitation per team and address.
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
    /** SHA-256 of the token in the link. The token itself is shown once and never stored. */
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

/** Installations of the GitHub App, each with the one team it serves. */
export const githubInstallations = pgTable(
  'github_installations',
  {
    id: id(),
    teamId: uuid()
      .notNull()
      .references(() => teams.id, { onDelete: 'cascade' }),
    /**
     * GitHub's id of the installation. It belongs to one team: connecting it requires proof from GitHub of the right to
     * it.
     */
    installationId: bigint({ mode: 'number' }).notNull().unique('github_installations_installation_id_unique'),
    accountType: varchar({ length: 50, enum: ['User', 'Organization'] }).notNull(),
    accountLogin: varchar({ length: 255 }).notNull(),
    accountId: bigint({ mode: 'number' }).notNull(),
    /** Since when GitHub has blocked our access; null if not suspended. */
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
    /** Unique across all teams: an app is served at `<slug>.` of one shared domain. */
    slug: varchar({ length: 63 }).notNull().unique(),
    githubRepo: varchar({ length: 500 }),
    /** GitHub's id of the repository, which pushes are matched by: names can be taken over by others. */
    githubRepoId: bigint({ mode: 'number' }),
    /**
     * The GitHub App installation that can access the repository. Null: the repository is public, or there is no GitHub
     * App.
     */
    githubInstallationId: bigint({ mode: 'number' }),
    githubBranch: varchar({ length: 255 }).notNull().default('main'),
    /** The clone URL of a repository that is not on GitHub. */
    gitUrl: varchar({ length: 500 }),
    /** The app's directory within the repository; null for the root. */
    rootDirectory: varchar({ length: 255 }),
    /** The health check's path, and how many seconds a release may fail it; null: the platform's defaults. */
    healthPath: varchar({ length: 255 }),
    healthGrace: integer(),
    /** The port that the app listens on, whatever `PORT` says; null: the one in `PORT`. */
    port: integer(),
    /** The app's name at Fly; null until it is deployed there. */
    flyAppId: varchar({ length: 255 }),
    region: varchar({ length: 10 })
      .notNull()
      .default('iad')
      .references(() => regions.code),
    autoDeploy: boolean().notNull().default(true),
    lastPush: jsonb().$type<LastPush>(),
    /** Incremented with each change of the row; basis of its ETag and of If-Match. */
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
    /** The key of the ENCRYPTION_KEYS ring that sealed the value. */
    keyId: varchar({ length: 64 }).notNull(),
    /** Incremented with each new value; deployments record the versions they ran with. */
    version: integer().notNull().default(1),
    /** Whether the variable is visible to builds too. */
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
    /**
     * The uploaded archive that it is built from; null for a commit or an image. Stays set when the archive is removed.
     */
    sourceId: uuid(),
    /** The image that runs, by digest. Set once it is built, or from the start. */
    image: varchar({ length: 500 }),
    /** The deployment whose image a rollback restores. */
    rollbackOf: uuid(),
    /** The env vars it runs with: names and versions. */
    envVersions: jsonb().$type<Record<string, number>>(),
    /** The app settings it runs with. */
    config: jsonb().$type<DeploymentConfig>(),
    errorCode: varchar({ length: 50, enum: DEPLOYMENT_ERRORS }),
    errorMessage: text(),
    /** The last output of the program that failed, redacted. */
    errorLog: text(),
    /** Random per claim; writes under an earlier worker's claim are refused. */
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

/** Each app's last uploaded source: a gzipped tar archive. An upload replaces the previous one. */
export const sourceArchives = pgTable(
  'source_archives',
  {
    id: id(),
    appId: uuid()
      .notNull()
      .references(() => apps.id, { onDelete: 'cascade' }),
    /** SHA-256 in hexadecimal. */
    digest: varchar({ length: 64 }).notNull(),
    bytes: bigint({ mode: 'number' }).notNull(),
    createdAt: createdAt()
  },
  table => [uniqueIndex('source_archives_app_id_unique').on(table.appId)]
)

/** The bytes of uploaded sources, in order. */
export const sourceArchiveChunks = pgTable(
  'source_archive_chunks',
  {
    archiveId: uuid()
      .notNull()
      .references(() => sourceArchives.id, { onDelete: 'cascade' }),
    seq: integer().notNull(),
    /** Stored without further compression. */
    content: bytea().notNull()
  },
  table => [primaryKey({ columns: [table.archiveId, table.seq] })]
)

/** The complete sealed env of an active or live deployment. Deleted when the deployment is over. */
export const deploymentSecrets = pgTable('deployment_secrets', {
  deploymentId: uuid()
    .primaryKey()
    .references(() => deployments.id, { onDelete: 'cascade' }),
  valueEncrypted: bytea().notNull(),
  nonce: bytea().notNull(),
  keyId: varchar({ length: 64 }).notNull()
})

/** The output of builds and rollouts, in order and redacted. */
export const buildLogChunks = pgTable(
  'build_log_chunks',
  {
    deploymentId: uuid()
      .notNull()
      .references(() => deployments.id, { onDelete: 'cascade' }),
    seq: integer().notNull(),
    /** The deployment's status at the time of the output. */
    phase: varchar({ length: 50, enum: DEPLOYMENT_STATUSES }).notNull(),
    text: text().notNull(),
    createdAt: createdAt()
  },
  table => [
    primaryKey({ columns: [table.deploymentId, table.seq] }),
    index('idx_build_log_chunks_created_at').on(table.createdAt)
  ]
)

/** The output of running apps. */
export const appLogs = pgTable(
  'app_logs',
  {
    id: bigint({ mode: 'number' }).primaryKey().generatedAlwaysAsIdentity(),
    appId: uuid()
      .notNull()
      .references(() => apps.id, { onDelete: 'cascade' }),
    deploymentId: uuid(),
    /** When it was logged, by the clock of the machine that ran the app. */
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

/** Deleted apps that still have to be removed where they run. Written by a trigger. */
export const appTombstones = pgTable('app_tombstones', {
  appId: uuid().primaryKey(),
  slug: varchar({ length: 63 }).notNull(),
  flyAppId: varchar({ length: 255 }),
  createdAt: createdAt()
})

/** Webhook deliveries from other services, as received, each stored once. */
export const webhookDeliveries = pgTable(
  'webhook_deliveries',
  {
    source: varchar({ length: 20, enum: WEBHOOK_SOURCES }).notNull(),
    deliveryId: varchar({ length: 100 }).notNull(),
    event: varchar({ length: 100 }).notNull(),
    /** The exact bytes of the body: as text it might be invalid for the database. */
    payload: bytea().notNull(),
    receivedAt: createdAt(),
    /** When processing ended, whatever the outcome. */
    processedAt: instant(),
    outcome: varchar({ length: 20, enum: WEBHOOK_OUTCOMES }),
    error: text()
  },
  table => [
    primaryKey({ columns: [table.source, table.deliveryId] }),
    index('idx_webhook_deliveries_received_at').on(table.receivedAt)
  ]
)

/** Since when each secret of the configuration has been in use. Fingerprints reveal nothing about the secrets. */
export const secretLedger = pgTable(
  'secret_ledger',
  {
    name: varchar({ length: 64 }).notNull(),
    fingerprint: varchar({ length: 64 }).notNull(),
    firstSeenAt: createdAt()
  },
  table => [primaryKey({ columns: [table.name, table.fingerprint] })]
)

/** The configured secrets that each running instance holds. A row that is not renewed belongs to a stopped instance. */
export const secretHolders = pgTable('secret_holders', {
  /** Identifies one start of an instance. */
  instance: uuid().primaryKey(),
  seenAt: createdAt(),
  /** Fingerprints by variable. */
  holds: jsonb().$type<Readonly<Record<string, readonly string[]>>>().notNull()
})

export const usageRecords = pgTable(
  'usage_records',
  {
    id: id(),
    /** No foreign key: billing records must be kept for years, even after the team is deleted. */
    teamId: uuid().notNull(),
    appId: uuid().references(() => apps.id, { onDelete: 'set null' }),
    metric: varchar({ length: 50, enum: USAGE_METRICS }).notNull(),
    quantity: numeric({ precision: 20, scale: 6 }).notNull(),
    recordedAt: createdAt(),
    /** The first day of the billed UTC month. */
    billingPeriod: date().notNull()
  },
  table => [
    index('idx_usage_records_team_id_billing_period').on(table.teamId, table.billingPeriod),
    index('idx_usage_records_metric_billing_period').on(table.metric, table.billingPeriod),
    check('usage_records_metric_known', sql`${table.metric} ${oneOf(USAGE_METRICS)}`)
  ]
)

/** Regions that apps can run in. A region that is no longer available keeps its row, because apps refer to it. */
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
    /** SHA-256 of the whole token. The token itself is shown once and never stored. */
    tokenHash: bytea().notNull().unique('api_tokens_token_hash_unique'),
    /** The first characters of the token, by which its owner recognises it. */
    prefix: varchar({ length: 16 }).notNull(),
    scopes: varchar({ length: 20, enum: SCOPES }).array().notNull(),
    /** The only team the token has access to; null: all of the user's teams. */
    teamId: uuid().references(() => teams.id, { onDelete: 'cascade' }),
    expiresAt: instant(),
    lastUsedAt: instant(),
    /** The client address of the last use. */
    lastUsedFrom: varchar({ length: 50 }),
    revokedAt: instant(),
    createdAt: createdAt()
  },
  table => [index('idx_api_tokens_user_id').on(table.userId), index('idx_api_tokens_team_id').on(table.teamId)]
)

/** Where a token has been used from: an IPv4 address, or the /64 of an IPv6 address. */
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

/** Active sessions. A session that ends is deleted. */
export const sessions = pgTable(
  'sessions',
  {
    id: id(),
    userId: uuid()
      .notNull()
      .references(() => users.id, { onDelete: 'cascade' }),
    /** SHA-256 of the secret in the cookie. */
    secretHash: bytea().notNull().unique('sessions_secret_hash_unique'),
    method: varchar({ length: 20, enum: SIGN_IN_METHODS }).notNull(),
    /** Whether the user was an operator when the session began; sessions never gain operator rights. */
    asOperator: boolean().notNull(),
    ip: varchar({ length: 50 }),
    userAgent: varchar({ length: 512 }),
    lastSeenAt: createdAt(),
    /** When the session ends unless it is used before. */
    idleUntil: instant().notNull(),
    /** When the session ends regardless of use. */
    expiresAt: instant().notNull(),
    /** When the user signed in. */
    createdAt: createdAt()
  },
  table => [
    index('idx_sessions_user_id').on(table.userId),
    check('sessions_method_known', sql`${table.method} ${oneOf(SIGN_IN_METHODS)}`)
  ]
)

/** Completed OAuth sign-ins, so that none can be completed twice. */
export const spentSignIns = pgTable(
  'spent_sign_ins',
  {
    hash: bytea().primaryKey(),
    /** From this instant on, the sign-in would be refused as expired anyway. */
    expiresAt: instant().notNull()
  },
  table => [index('idx_spent_sign_ins_expires_at').on(table.expiresAt)]
)

/** Users who sign in with a password stored here. */
export const localAccounts = pgTable('local_accounts', {
  userId: uuid()
    .primaryKey()
    .references(() => users.id, { onDelete: 'cascade' }),
  /** In lower case. */
  login: varchar({ length: 255 }).notNull().unique('local_accounts_login_unique'),
  /** Argon2id as a PHC string; null until the first password is set. */
  passwordHash: varchar({ length: 255 }),
  changedAt: instant(),
  /** SHA-256 of the single-use code for setting a password; valid until the instant below. */
  resetHash: bytea(),
  resetUntil: instant(),
  createdAt: createdAt()
})

/** Logins of programs, which a person approves in a browser. Rows expire within minutes. */
export const deviceLogins = pgTable(
  'device_logins',
  {
    id: id(),
    /** SHA-256 of the secret with which the program polls for the outcome. */
    deviceHash: bytea().notNull().unique('device_logins_device_hash_unique'),
    /** SHA-256 of the code that the person compares or types. */
    userHash: bytea().notNull().unique('device_logins_user_hash_unique'),
    status: varchar({ length: 20, enum: DEVICE_LOGIN_STATUSES }).notNull().default('pending'),
    /** The program's name for itself. */
    name: varchar({ length: 100 }).notNull(),
    scopes: varchar({ length: 20, enum: SCOPES }).array().notNull(),
    /** The address that began the login. */
    ip: varchar({ length: 50 }),
    /** The user who approved it. */
    userId: uuid().references(() => users.id, { onDelete: 'cascade' }),
    /** The fetched token, which is revoked if it is requested again. */
    tokenId: uuid().references(() => apiTokens.id, { onDelete: 'set null' }),
    /** Polling interval in seconds; grows when the program polls too early. */
    pollInterval: integer().notNull(),
    polledAt: instant(),
    expiresAt: instant().notNull(),
    createdAt: createdAt()
  },
  table => [
    index('idx_device_logins_expires_at').on(table.expiresAt),
    check('device_logins_status_known', sql`${table.status} ${oneOf(DEVICE_LOGIN_STATUSES)}`)
  ]
)

/** Counts wrong password guesses. The key is a SHA-256 of what is counted. */
export const signInFailures = pgTable(
  'sign_in_failures',
  {
    key: bytea().primaryKey(),
    count: integer().notNull(),
    /** Further guesses are refused before this instant. */
    blockedUntil: instant().notNull(),
    lastAt: instant().notNull()
  },
  table => [index('idx_sign_in_failures_last_at').on(table.lastAt)]
)

const newestFirst = (at: ExtraConfigColumn, id: ExtraConfigColumn) =>
  [at.desc().nullsFirst(), id.desc().nullsFirst()] as const

/**
 * Append-only: a trigger refuses UPDATE, DELETE and TRUNCATE. Retention and erasure use their own transactions, which
 * begin with `set local rhone.audit_purge = 'on'`. There are no foreign keys: a row outlives the objects it is about,
 * so it stores their ids and names at the time.
 *
 * Partitioned by UTC month, which drizzle does not support: see the migration, and `ensure_audit_partitions`.
 */
export const auditLogs = pgTable(
  'audit_logs',
  {
    id: uuid().notNull().default(sql`gen_random_uuid()`),
    eventType: varchar({ length: 50, enum: AUDIT_TYPES }).notNull(),
    action: varchar({ length: 50 }).notNull(),
    outcome: varchar({ length: 20, enum: AUDIT_OUTCOMES }).notNull().default('success'),
    userId: uuid(),
    /** The actor's name at the time; for an automatic action, the component that acted. */
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
    /** HMAC over the whole row, with a key that is not in the database. */
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

/** The words for text search: those of all names in a row. */
export function auditWords(row: Record<'actor' | 'action' | 'resource' | 'resourceName' | 'details', SQLWrapper>): SQL {
  return sql`audit_words(${row.actor}, ${row.action}, ${row.resource}, ${row.resourceName}, ${row.details})`
}

/** Rows that are not in the chain yet; a trigger adds every new row here, in the statement that writes it. */
export const auditUnsealed = pgTable('audit_unsealed', {
  position: bigint({ mode: 'number' }).primaryKey().generatedAlwaysAsIdentity(),
  rowId: uuid().notNull(),
  rowCreatedAt: instant().notNull(),
  /** Since when the row has waited, independent of the row's own timestamp. */
  notedAt: instant().notNull().default(sql`clock_timestamp()`)
})

/** The chain: one link per audit row, each over the previous one. `docs/decisions/0013-audit-chain.md` */
export const auditSeals = pgTable(
  'audit_seals',
  {
    seq: bigint({ mode: 'number' }).primaryKey(),
    rowId: uuid().notNull(),
    rowCreatedAt: instant().notNull(),
    /** Keeps the row's personal data from being guessed from its digest. Null once the row is pseudonymised. */
    salt: bytea(),
    /** Digest of the row's personal data with the salt. Kept when the person is erased. */
    personalDigest: bytea().notNull(),
    /** Digest of the whole row. Null, like the next three, in links made before there were MACs. */
    rowDigest: bytea(),
    /** Whether the row's MAC was valid when it was sealed. */
    isGenuine: boolean(),
    /** Whether the previous link was authenticated when this one was added. */
    isContinuous: boolean(),
    /** HMAC over the digest, at the last link of each batch; authenticates all links up to this one. */
    mac: bytea(),
    digest: bytea().notNull(),
    /** HMAC over the remaining fields after the person was erased, and the key that made it. */
    erasure: bytea(),
    erasureKeyId: varchar({ length: 64 })
  },
  table => [index('idx_audit_seals_row').on(table.rowCreatedAt, table.rowId)]
)

/** Signed links of the chain, so that write access to the database is not enough to forge a chain. */
export const auditCheckpoints = pgTable('audit_checkpoints', {
  seq: bigint({ mode: 'number' }).primaryKey(),
  digest: bytea().notNull(),
  /** Retention may have removed rows before this instant. Null while it has removed nothing. */
  retainedFrom: instant(),
  keyId: varchar({ length: 64 }).notNull(),
  signature: bytea().notNull(),
  createdAt: createdAt()
})

/** A single row: whether the platform is closed for maintenance. */
export const maintenanceState = pgTable(
  'maintenance_state',
  {
    id: smallint().primaryKey().default(1),
    enabled: boolean().notNull().default(false),
    message: text(),
    /** Retry-After while closed, in seconds. */
    retryAfter: integer().notNull().default(300),
    /** When the platform reopens automatically. */
    until: instant(),
    /** When it was closed; null while open. */
    since: instant(),
    /** Who made the last change. */
    changedBy: varchar({ length: 255 }),
    updatedAt: updatedAt()
  },
  table => [check('maintenance_state_single_row', sql`${table.id} = 1`)]
)

/** A single row, created by the first backup: identifies this database's backups, wherever it is restored. */
export const installation = pgTable(
  'installation',
  {
    id: smallint().primaryKey().default(1),
    identity: uuid().notNull().default(sql`gen_random_uuid()`),
    createdAt: createdAt()
  },
  table => [check('installation_single_row', sql`${table.id} = 1`)]
)

/** Replies to unsafe requests with an Idempotency-Key, written in the transaction of the change itself. */
export const idempotencyKeys = pgTable(
  'idempotency_keys',
  {
    /** The id of the user that the key belongs to. */
    principal: varchar({ length: 64 }).notNull(),
    key: varchar({ length: 255 }).notNull(),
    /** HMAC of method, path and body: reusing a key for another request is a client error. */
    fingerprint: bytea().notNull(),
    status: smallint().notNull(),
    headers: jsonb().$type<Record<string, string>>().notNull(),
    body: jsonb(),
    /** The team that the reply is about: on a replay, the caller must still have the required role in it. */
    subject: varchar({ length: 64 }),
    createdAt: createdAt()
  },
  table => [
    primaryKey({ columns: [table.principal, table.key] }),
    index('idx_idempotency_keys_created_at').on(table.createdAt)
  ]
)

/** Server errors per hour, code and route, shown on the operators' dashboard as recent errors. */
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

export const INCIDENT_SEVERITIES = ['critical', 'high', 'medium', 'low'] as const
export type IncidentSeverity = (typeof INCIDENT_SEVERITIES)[number]

/** Incidents that operators describe to users; shown on the status page. */
export const incidents = pgTable(
  'incidents',
  {
    id: id(),
    title: varchar({ length: 255 }).notNull(),
    severity: varchar({ length: 20, enum: INCIDENT_SEVERITIES }).notNull(),
    /** The names of the components concerned. */
    components: jsonb().$type<string[]>().notNull(),
    openedAt: createdAt(),
    /** Null while it is open. */
    closedAt: instant()
  },
  table => [
    // Opening the same incident twice, from two terminals, creates one.
    uniqueIndex('uq_incidents_open_title').on(table.title).where(sql`${table.closedAt} is null`),
    index('idx_incidents_closed_at').on(table.closedAt),
    check('incidents_severity_known', sql`${table.severity} ${oneOf(INCIDENT_SEVERITIES)}`)
  ]
)

export const incidentUpdates = pgTable(
  'incident_updates',
  {
    position: bigint({ mode: 'number' }).primaryKey().generatedAlwaysAsIdentity(),
    incidentId: uuid()
      .notNull()
      .references(() => incidents.id, { onDelete: 'cascade' }),
    at: createdAt(),
    message: text().notNull()
  },
  table => [index('idx_incident_updates_incident').on(table.incidentId, table.position)]
)

/** How many seconds of a UTC day each component was observed in each state, summed over all instances. */
export const statusDays = pgTable(
  'status_days',
  {
    day: date().notNull(),
    component: varchar({ length: 50 }).notNull(),
    operational: integer().notNull().default(0),
    degraded: integer().notNull().default(0),
    outage: integer().notNull().default(0),
    maintenance: integer().notNull().default(0)
  },
  table => [primaryKey({ columns: [table.day, table.component] })]
)
