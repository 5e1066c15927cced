import { access } from 'node:fs/promises'
import type { TestContext } from 'node:test'
import { eq } from 'drizzle-orm'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { type Browser, type BrowserContext, type BrowserContextOptions, chromium } from 'playwright-core'
import { apps, deployments, users } from '../../drizzle/schema.ts'
import type { AppMetrics, DeployedApp, Deployer } from '../../integrations/deployer/port.ts'
import { createLocalAccount } from '../../src/domain/accounts/local-accounts.ts'
import { setOperator } from '../../src/domain/accounts/operators.ts'
import { auditLog } from '../domain/support.ts'
import { type TestApp, testApp } from '../support/app.ts'
import { TestBrowser } from '../support/browser.ts'
import { freePort } from '../support/free-port.ts'

/* Servers and signed-in browsers, for tests of pages and for screenshots. */

const CHROMIUM = '/usr/bin/chromium'
export const PASSWORD = 'kuro mizu tabi 9 feldspar'

const isInstalled = await access(CHROMIUM).then(
  () => true,
  () => false
)
/** Why browser tests are skipped here; false if they are not. */
export const skip = !isInstalled && `there is no browser at ${CHROMIUM}`

export type Scope = Pick<TestContext, 'after'>

export interface Person {
  readonly id: string
  readonly username: string
  /** Signed in; runs no scripts and shows nothing. */
  readonly browser: TestBrowser
}

export interface Site extends TestApp {
  readonly url: string
  /** Creates a user with a verified address and a session. */
  person(username: string, isOperator?: boolean): Promise<Person>
}

/** Limits that tests do not reach. */
const HIGH_LIMITS = {
  LOCAL_ACCOUNTS: 'true',
  RATE_LIMIT_GENERAL: '10000/s:10000',
  RATE_LIMIT_USER: '10000/s:10000',
  RATE_LIMIT_AUTH: '10000/s:10000',
  RATE_LIMIT_STRICT: '10000/s:10000',
  RATE_LIMIT_DEPLOY: '10000/s:10000'
}

type Settings = Parameters<typeof testApp>[1]
type Swaps = Parameters<typeof testApp>[2]

/** Starts the server as shipped; `port` may be that of an earlier one. */
export async function startSite(
  scope: Scope,
  variables: Settings = {},
  swaps: Swaps = {},
  port?: number
): Promise<Site> {
  port ??= await freePort()
  const url = `http://127.0.0.1:${port}`
  const made = await testApp(
    scope as TestContext,
    { APPS_PORT: '0', BASE_URL: url, ...HIGH_LIMITS, ...variables },
    swaps
  )
  await made.app.listen({ host: '127.0.0.1', port })
  return { ...made, url, person: (username, isOperator = false) => newPerson(made.app, url, username, isOperator) }
}

/** A server on which nothing is built and nothing ends, so that its pages keep showing the prepared data. */
export function startStillSite(scope: Scope, variables: Settings = {}): Promise<Site> {
  return startSite(scope, variables, { deploying: stillDeploying, deployer: stillDeployer })
}

const stillDeploying = fp(
  async (app: FastifyInstance) => {
    app.decorate('deploying', { ledger: {} as never, queues: [] })
  },
  { name: 'still-deploying' }
)

/** The slug of the app that does not answer on a still site. */
export const DOWN = 'mailer'

const stillDeployer = fp(
  async (app: FastifyInstance) => {
    app.decorate('deployer', {
      name: 'still',
      urlOf: ({ slug }: DeployedApp) => `https://${slug}.example.com/`,
      metrics: async () => READINGS,
      lookEvery: 2_000,
      running: async () =>
        (
          await app.db
            .select({ id: deployments.id, appId: deployments.appId, slug: apps.slug })
            .from(deployments)
            .innerJoin(apps, eq(apps.id, deployments.appId))
            .where(eq(deployments.status, 'live'))
        ).map(({ id, appId, slug }) => ({
          appId,
          deploymentId: id,
          flyAppId: null,
          isServing: true,
          isHealthy: slug !== DOWN
        }))
    } as unknown as Deployer)
  },
  { name: 'still-deployer' }
)

const READINGS: AppMetrics = {
  cpuPercent: 12.4,
  memory: { usedMb: 148, totalMb: 512, usedPercent: 28.9 },
  network: { bytesInPerSec: 18_400, bytesOutPerSec: 226_000 },
  requests: { total: 182_211, perSec: 37.2, avgLatencyMs: 21, errorRate: 0.004 },
  instances: [
    { id: '4d891b2f7a1e08', region: 'fra', state: 'started', cpuPercent: 7.1, memoryMb: 81 },
    { id: '6e82c0d9b44387', region: 'fra', state: 'started', cpuPercent: 5.3, memoryMb: 67 }
  ]
}

async function newPerson(app: FastifyInstance, url: string, username: string, isOperator: boolean): Promise<Person> {
  const { id, code } = await app.db.transaction(async tx => {
    const { user, code } = await createLocalAccount(tx, auditLog, username, 'test', 'pro')
    if (isOperator) await setOperator(tx, user.id, true)
    return { id: user.id, code }
  })
  const verified = { email: `${username}@example.com`, emailVerifiedAt: new Date() }
  await app.db.update(users).set(verified).where(eq(users.id, id))
  const browser = new TestBrowser()
  const form = await browser.open(`${url}/auth/reset`)
  const page = await browser.submit(form, '/auth/reset', { login: username, code, password: PASSWORD })
  if (page.status !== 200) throw new Error(`${username} could not sign in: ${page.status}`)
  return { id, username, browser }
}

/** One browser for all tests of a file. */
export async function launchBrowser(scope: Scope): Promise<Browser> {
  const browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: ['--no-sandbox', '--disable-quic', '--disable-background-networking', '--disable-gpu']
  })
  scope.after(() => browser.close())
  return browser
}

/** A new window in which the person is already signed in. */
export async function openWindow(
  browser: Browser,
  url: string,
  person: Person | null,
  options: BrowserContextOptions = {}
): Promise<BrowserContext> {
  const context = await browser.newContext({ reducedMotion: 'reduce', ...options })
  const jar = person?.browser.cookies.get(new URL(url).origin) ?? new Map<string, string>()
  if (jar.size > 0) await context.addCookies([...jar].map(([name, value]) => ({ name, value, url })))
  return context
}
