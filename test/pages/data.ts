import { and, eq } from 'drizzle-orm'
import {
  apps,
  buildLogChunks,
  deployments,
  envVars,
  errorEvents,
  githubInstallations,
  incidents,
  incidentUpdates,
  statusDays,
  teamMembers
} from '../../drizzle/schema.ts'
import { beginDeviceLogin } from '../../src/domain/accounts/device-logins.ts'
import { createToken } from '../../src/domain/accounts/tokens.ts'
import { createApp } from '../../src/domain/apps/apps.ts'
import { setEnvVar } from '../../src/domain/apps/env-vars.ts'
import { insertAppLogs } from '../../src/domain/apps/logs.ts'
import { SecretBox } from '../../src/domain/base/secret-box.ts'
import { findTeam } from '../../src/domain/teams/access.ts'
import { invite } from '../../src/domain/teams/invitations.ts'
import { createTeam } from '../../src/domain/teams/teams.ts'
import { addDeadJob } from '../support/jobs.ts'
import { DOWN, type Person, type Site } from './site.ts'

/* The data that the pages of a still site show: long names, and hostile texts. */

const MINUTE = 60_000
const DAY = 1_440 * MINUTE
const REPOSITORY = 'https://git.example.com/acme'
const ESCAPE = '\u001b'

export interface Data {
  /** Owns the team "acme", with apps in every state. */
  readonly ada: Person
  /** A member of it. */
  readonly bob: Person
  /** An operator. */
  readonly grace: Person
  /** Has an account and nothing else. */
  readonly newt: Person
  /** Deployments of the app "website" and others, by state. */
  readonly deployments: Readonly<Record<'live' | 'replaced' | 'failed' | 'building' | 'queued', string>>
  /** The path of an open invitation for `newt`. */
  readonly invitation: string
  /** The code of a program that waits for approval. */
  readonly deviceCode: string
}

/** Adds a team with apps and deployments to a still site. */
export async function fill(site: Site): Promise<Data> {
  const { db } = site.app
  // One after the other, because each takes a password hash and a transaction.
  const ada = await site.person('ada')
  const bob = await site.person('bob-with-a-rather-long-name')
  const grace = await site.person('grace', true)
  const newt = await site.person('newt')
  const team = await db.transaction(tx => createTeam(tx, ada.id, { name: 'Acme Rockets', slug: 'acme' }, 'pro'))
  await db.insert(teamMembers).values([
    { teamId: team.id, userId: bob.id, role: 'member' },
    { teamId: team.id, userId: grace.id, role: 'admin' }
  ])
  const ids = await fillApps(site, team.id, ada)
  const token = await db.transaction(async tx => {
    const own = await findTeam(tx, ada.id, 'acme')
    await invite(tx, own, ada.id, 'a.person.with.a.long.address@subsidiary.example.com', 'admin')
    return (await invite(tx, own, ada.id, 'newt@example.com', 'member')).token
  })
  await db.insert(githubInstallations).values([
    { teamId: team.id, installationId: 4242, accountType: 'Organization', accountLogin: 'acme', accountId: 7 },
    {
      teamId: team.id,
      installationId: 4243,
      accountType: 'User',
      accountLogin: 'ada',
      accountId: 8,
      suspendedAt: new Date()
    }
  ])
  await createToken(db, { userId: ada.id, name: 'CI of website', scopes: ['deploy'], expiresAt: inDays(3) })
  await createToken(db, { userId: ada.id, name: 'Laptop', scopes: ['admin'], expiresAt: inDays(80), teamId: team.id })
  await addDownApp(site, bob)
  await fillPlatform(site)
  const program = { name: 'rhone on a-laptop', scopes: ['deploy'], ip: '203.0.113.7' } as const
  const { userCode: deviceCode } = await beginDeviceLogin(db, program)
  return { ada, bob, grace, newt, deployments: ids, invitation: `/invitations/accept?token=${token}`, deviceCode }
}

async function fillApps({ app, config }: Site, teamId: string, ada: Person): Promise<Data['deployments']> {
  const { db } = app
  const box = new SecretBox(config.keys.encryption!)
  const made = async (name: string, slug: string, repository: string | null = slug) =>
    createApp(db, teamId, { name, slug, ...(repository && { gitUrl: `${REPOSITORY}/${repository}.git` }) })
  const website = await made('Website', 'website')
  const api = await made('Payments API with a name that somebody did not keep short at all', 'payments-api')
  const worker = await made('worker', 'worker')
  const queue = await made('thumbnails', 'thumbnails')
  await made('handbook', 'handbook')
  await made('<img src=x onerror=alert(1)>', 'spike', null)
  await db.update(apps).set({ region: 'fra' }).where(eq(apps.id, website.id))

  for (const [key, value] of [
    ['DATABASE_URL', 'postgres://nobody@db.example.com/website'],
    ['PUBLIC_ORIGIN', 'https://website.example.com'],
    ['A_NAME_THAT_IS_AS_LONG_AS_NAMES_OF_VARIABLES_SOMETIMES_ARE', 'x']
  ] as const)
    await setEnvVar(db, box, website.id, key, value, key === 'PUBLIC_ORIGIN')
  await db
    .update(envVars)
    .set({ version: 2 })
    .where(and(eq(envVars.appId, website.id), eq(envVars.key, 'DATABASE_URL')))

  const deployed = async (
    appId: string,
    minutes: number,
    fields: Partial<typeof deployments.$inferInsert>,
    log = BUILD_LOG
  ) => {
    const at = (after: number) => new Date(Date.now() - minutes * MINUTE + after * 1_000)
    const isBuilt = fields.image !== undefined
    const [row] = await db
      .insert(deployments)
      .values({
        appId,
        triggeredBy: ada.id,
        branch: 'main',
        createdAt: at(0),
        updatedAt: new Date(Math.min(at(58).getTime(), Date.now())),
        buildStartedAt: fields.status === 'pending' ? null : at(1),
        ...(isBuilt && { buildFinishedAt: at(43), deployStartedAt: at(44), deployFinishedAt: at(57) }),
        ...fields
      })
      .returning({ id: deployments.id })
    if (log !== '')
      await db.insert(buildLogChunks).values({ deploymentId: row!.id, seq: 1, phase: 'building', text: log })
    return row!.id
  }
  const image = (letter: string) => `registry.example.com/website@sha256:${letter.repeat(64)}`

  const replaced = await deployed(website.id, 5 * 1_440, {
    status: 'superseded',
    trigger: 'webhook',
    commitSha: '0c16d8e2b7f9a3145d6e8c90ab12cd34ef56ab78',
    commitMessage: 'Show prices with their currency',
    image: image('a')
  })
  await deployed(website.id, 2 * 1_440, {
    status: 'build_failed',
    trigger: 'cli',
    commitSha: '77aa01c2b7f9a3145d6e8c90ab12cd34ef56ab78',
    commitMessage: 'Try the new bundler',
    errorCode: 'BUILD_FAILED',
    errorMessage: 'npm run build ended with code 1.'
  })
  const live = await deployed(website.id, 190, {
    status: 'live',
    trigger: 'webhook',
    commitSha: '9f1c2a7e2b7f9a3145d6e8c90ab12cd34ef56ab7',
    commitMessage: 'Load the map only where it is seen\n\nIt was 400 kB on every page.',
    image: image('b'),
    config: { region: 'ams', repository: `${REPOSITORY}/website.git` },
    envVersions: { DATABASE_URL: 1, PUBLIC_ORIGIN: 1, OLD_FLAG: 1 }
  })
  await deployed(api.id, 1_500, {
    status: 'live',
    image: image('c'),
    commitMessage: 'Accept cards',
    commitSha: 'c'.repeat(40)
  })
  const failed = await deployed(
    api.id,
    12,
    {
      status: 'build_failed',
      trigger: 'webhook',
      commitSha: 'd41d8cd98f00b204e9800998ecf8427e00000000',
      commitMessage: 'Add <b>refunds</b>, with a subject line that is longer than anybody should write it in a commit',
      errorCode: 'BUILD_FAILED',
      errorMessage: 'npm ci ended with code 1: package.json and package-lock.json do not match.',
      errorLog: FAILED_LOG
    },
    FAILED_LOG
  )
  await deployed(worker.id, 3_000, {
    status: 'live',
    image: image('e'),
    commitMessage: 'Retry mails',
    commitSha: 'e'.repeat(40)
  })
  const building = await deployed(worker.id, 0.4, {
    status: 'building',
    commitSha: 'f'.repeat(40),
    commitMessage: 'Bounce'
  })
  const queued = await deployed(queue.id, 0.2, { status: 'pending', trigger: 'api' }, '')

  await insertAppLogs(
    db,
    Array.from({ length: 220 }, (_, at) => ({
      appId: website.id,
      deploymentId: live,
      at: new Date(Date.now() - (220 - at) * 1_000),
      level: LINES[at % LINES.length]!.startsWith('TypeError')
        ? ('error' as const)
        : at % 15 === 4
          ? ('warn' as const)
          : ('info' as const),
      source: at === 0 ? ('system' as const) : ('app' as const),
      region: 'fra',
      instance: '4d891b2f7a1e08',
      message: LINES[at % LINES.length]!
    }))
  )
  return { live, replaced, failed, building, queued }
}

/** Adds a live app that does not answer: see `stillDeployer`. */
async function addDownApp({ app: { db } }: Site, { id, username }: Person): Promise<void> {
  const team = await findTeam(db, id, username)
  const app = await createApp(db, team.id, { name: 'Mailer', slug: DOWN, gitUrl: `${REPOSITORY}/mailer.git` })
  const at = new Date(Date.now() - 2 * DAY)
  const commit = { commitSha: 'a'.repeat(40), commitMessage: 'Send in batches', branch: 'main' }
  await db.insert(deployments).values({
    ...commit,
    appId: app.id,
    status: 'live',
    triggeredBy: id,
    image: `registry.example.com/mailer@sha256:${'f'.repeat(64)}`,
    createdAt: at,
    updatedAt: at
  })
}

const BUILD_LOG = `Cloning git.example.com/acme/website
Detected Node.js 24 with npm
$ npm ci
${ESCAPE}[32m✓${ESCAPE}[0m added 214 packages in 3s
$ npm run build
${ESCAPE}[1m${ESCAPE}[36mvite${ESCAPE}[0m building for production...
dist/assets/index-9f1c2a7e.js   ${ESCAPE}[2m 84.10 kB${ESCAPE}[0m
${ESCAPE}[33mwarn${ESCAPE}[0m  a chunk is larger than 80 kB
Image sha256:bbbbbbbbbbbb, 61 MB
Release is healthy after 2.1s
`
const FAILED_LOG = `$ npm ci
npm error code EUSAGE
npm error
npm error \`npm ci\` can only install packages when your package.json and package-lock.json are in sync.
npm error Missing: left-pad@1.3.0 from lock file
npm error A complete log of this run is in a place with a path that has no blank in it: /build/cache/npm/_logs/2026-11-29T21_12_45_120Z-debug-0.log
`
const LINES = [
  'GET / 200 in 12 ms',
  `${ESCAPE}[32mGET${ESCAPE}[0m /map 200 in 31 ms`,
  'cache: 91 % of 1,204 look-ups hit',
  'TypeError: Cannot read properties of undefined (reading "price")\n    at total (/app/cart.js:12:31)',
  '<img src=x onerror=alert(1)> is what somebody searched for',
  `GET /search?q=${'a'.repeat(180)} 200 in 8 ms`,
  'worker 2 took over from worker 1'
]

const inDays = (days: number) => new Date(Date.now() + days * DAY)

async function fillPlatform({ app: { db } }: Site): Promise<void> {
  const hour = new Date(Math.floor(Date.now() / 3_600_000) * 3_600_000)
  const error = { hour, lastRequestId: '0197a4b2-5d1c-7c3e-9a51-0c4f6e1b2d3a', lastAt: new Date() }
  await db.insert(errorEvents).values([
    { ...error, code: 'INTERNAL_ERROR', route: '/api/v1/apps/:app/deployments/:id/logs', count: 3 },
    { ...error, code: 'SERVICE_UNAVAILABLE', route: '/api/v1/apps/:app/metrics', count: 41 }
  ])
  await addDeadJob(db, 'the deployer has not answered in 5 s')
  const openedAt = new Date(Date.now() - 3 * DAY)
  const [incident] = await db
    .insert(incidents)
    .values({
      title: 'Builds wait longer than usual',
      severity: 'medium',
      components: ['builds'],
      openedAt,
      closedAt: new Date(openedAt.getTime() + 50 * MINUTE)
    })
    .returning({ id: incidents.id })
  await db.insert(incidentUpdates).values([
    { incidentId: incident!.id, at: openedAt, message: 'Builds begin some minutes late. Apps run as ever.' },
    { incidentId: incident!.id, at: new Date(openedAt.getTime() + 50 * MINUTE), message: 'The queue is empty again.' }
  ])
  const day = (before: number) => new Date(Date.now() - before * DAY).toISOString().slice(0, 10)
  await db.insert(statusDays).values(
    Array.from({ length: 29 }, (_, before) => ({
      day: day(before + 1),
      component: 'api',
      operational: before === 2 ? 83_400 : 86_400,
      outage: before === 2 ? 3_000 : 0
    }))
  )
}
