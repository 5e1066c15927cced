import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, describe, it, type TestContext } from 'node:test'
import type { BrowserContext, Page } from 'playwright-core'
import { generateKey } from '../../src/config/keyring.ts'
import { createApp } from '../../src/domain/apps/apps.ts'
import { listTeams } from '../../src/domain/teams/teams.ts'
import { appFiles, endApps, PATIENCE, statusOf, untilLive } from '../pages/deployed.ts'
import { launchBrowser, openWindow, type Person, type Site, skip, startSite } from '../pages/site.ts'
import { freshDatabase } from '../support/database.ts'
import { eventually } from '../support/eventually.ts'
import { createRepository, type Repository, scratchDirectory } from '../support/repository.ts'

/** Milliseconds within which open pages show that an app has changed. */
const AT_ONCE = 5_000
/** How many times slower than ours a machine may be. */
const SLOW = 4
/** Number of concurrent builds on a server. */
const ROOM = 2

describe('pages while apps are deployed', { skip }, () => {
  const ended: (() => unknown)[] = []
  const scope = { after: (fn: () => unknown) => void ended.unshift(fn) } as unknown as TestContext
  let variables: Record<string, string>
  let site: Site
  let browser: Awaited<ReturnType<typeof launchBrowser>>
  let window: BrowserContext
  let ada: Person
  let repository: Repository

  before(async () => {
    variables = {
      DATABASE_URL: await freshDatabase(scope),
      DATA_DIR: await scratchDirectory(scope, 'rhone-pages-'),
      SESSION_SECRET: generateKey(),
      ENCRYPTION_KEY: generateKey()
    }
    site = await startSite(scope, variables)
    endApps(scope, site)
    browser = await launchBrowser(scope)
    repository = await createRepository(scope)
    await repository.push(appFiles())
    ada = await site.person('ada')
    window = await openWindow(browser, site.url, ada)
    for (const name of ['Website', 'Bakery', 'Diary']) await create(name, repository.url)
    await deploy(await open('/apps/website'))
  })
  after(async () => {
    for (const end of ended) await end()
  })

  async function open(path: string): Promise<Page> {
    const page = await window.newPage()
    page.setDefaultTimeout(PATIENCE)
    await page.goto(site.url + path)
    return page
  }

  async function create(name: string, gitUrl: string): Promise<void> {
    const { items } = await listTeams(site.app.db, ada.id, {})
    await createApp(site.app.db, items[0]!.id, { name, slug: name.toLowerCase(), gitUrl })
  }

  /** Resolves once the new version is live, or when `until` does. */
  async function deploy(page: Page, until: (page: Page) => Promise<unknown> = untilLive): Promise<Page> {
    await page.getByRole('button', { name: 'Deploy', exact: true }).click()
    await page.waitForURL('**/deployments/*')
    await until(page)
    return page
  }

  /** Makes all builds wait from now on, until the gate is opened. */
  async function closeGate(t: TestContext): Promise<{ readonly waiting: ServerResponse[]; open(): void }> {
    const waiting: ServerResponse[] = []
    let isOpen = false
    const gate = createServer((_request, response) => void (isOpen ? response.end() : waiting.push(response)))
    await once(gate.listen(0, '127.0.0.1'), 'listening')
    const open = () => {
      isOpen = true
      for (const response of waiting) response.end()
    }
    t.after(() => {
      open()
      gate.close()
    })
    const { port } = gate.address() as AddressInfo
    const ask = `node -e "require('node:http').get('http://127.0.0.1:${port}', response => response.resume())"`
    await repository.push(appFiles({ build: ask }))
    return { waiting, open }
  }

  it('9. a change of auto-deploy needs no deployment, one of a variable does, and is listed until then', async () => {
    const settings = await open('/apps/website/settings')
    const overview = await open('/apps/website')
    const notice = overview.getByText('One change is not deployed yet')
    await settings.getByLabel('Deploy every push to the branch').uncheck()
    await settings
      .locator('form', { has: settings.locator('#source') })
      .getByRole('button', { name: 'Save' })
      .click()
    await settings.getByText('Saved.').waitFor()
    await overview.getByText('do not deploy').waitFor()
    assert.equal(await notice.count(), 0)

    await settings.getByLabel('Variables', { exact: true }).fill('GREETING=hello')
    await settings.getByRole('button', { name: 'Save', exact: true }).last().click()
    await settings.getByText('Saved.').waitFor()
    await notice.waitFor()
    assert.ok(await overview.locator('.notice code', { hasText: 'GREETING' }).isVisible())
    await overview.getByRole('button', { name: 'Deploy them' }).click()
    await untilLive(overview)
    await overview.goto(`${site.url}/apps/website`)
    assert.equal(await notice.count(), 0)
  })

  it('10. a queued deployment shows its position, and can be cancelled', async t => {
    const gate = await closeGate(t)
    const isBuilding = (page: Page) => statusOf(page).getByText('Building').waitFor()
    const first = await deploy(await open('/apps/website'), isBuilding)
    await deploy(await open('/apps/bakery'), isBuilding)
    const third = await deploy(await open('/apps/diary'), page =>
      page.getByText(`${ROOM} deployments are ahead of it`).waitFor()
    )
    assert.ok(await statusOf(third).getByText('Queued').isVisible())

    await first.getByRole('button', { name: 'Cancel' }).click()
    await third.getByRole('button', { name: 'Cancel' }).waitFor()
    await third.getByText('One deployment is ahead of it').or(statusOf(third).getByText('Building')).waitFor()
    await third.getByRole('button', { name: 'Cancel' }).click()
    await third.getByText('The deployment was cancelled.').waitFor()
    await statusOf(third).getByText('Cancelled').waitFor()
    gate.open()
  })

  it('10. a build interrupted by a server restart starts again, and its page follows it to the end', async t => {
    const gate = await closeGate(t)
    const page = await deploy(await open('/apps/diary'), page => statusOf(page).getByText('Building').waitFor())
    await eventually(
      () => gate.waiting.length,
      builds => builds === 1
    )
    await site.app.close()
    await page.getByText(/Reconnecting/).waitFor()
    site = await startSite(scope, variables, {}, Number(new URL(site.url).port))
    gate.open()
    await untilLive(page)
    const notice = page.getByText('The build was interrupted and starts again.')
    await notice.waitFor() // The log connects again on its own, and may be later than the state.
    assert.equal(await notice.count(), 1)
  })

  it('8. every open page shows within seconds that an app has stopped', async t => {
    const overview = await open('/apps/website')
    const pages = [overview, await open('/apps'), await open('/dashboard'), await open('/apps/website/deployments')]
    const url = await overview.getByRole('link', { name: 'Open' }).getAttribute('href')
    await Promise.all(pages.map(page => page.getByText('Live', { exact: true }).first().waitFor()))
    const visitor = await window.newPage()
    await visitor.goto(new URL('/end', url!).href)
    const begun = performance.now()
    await Promise.all(pages.map(page => page.locator('.status', { hasText: 'Not answering' }).first().waitFor()))
    const took = Math.round(performance.now() - begun)
    t.diagnostic(`it took ${took} ms`)
    assert.ok(took < AT_ONCE * SLOW, `${took} ms`)
  })
})
