import assert from 'node:assert/strict'
import { after, before, describe, it, type TestContext } from 'node:test'
import { eq } from 'drizzle-orm'
import type { BrowserContext, BrowserContextOptions, Page } from 'playwright-core'
import { apps, sessions, users } from '../../drizzle/schema.ts'
import { fakeUser, startFakeGithub } from '../fakes/github/server.ts'
import { appFiles, endApps, PATIENCE, statusOf, untilLive } from '../pages/deployed.ts'
import { type Input, keyboard, mouse } from '../pages/input-devices.ts'
import { launchBrowser, openWindow, PASSWORD, type Person, type Site, skip, startSite } from '../pages/site.ts'
import { eventually } from '../support/eventually.ts'
import { createRepository, type Repository } from '../support/repository.ts'

describe('main tasks with apps', { skip }, () => {
  const ended: (() => unknown)[] = []
  const scope = { after: (fn: () => unknown) => void ended.unshift(fn) } as unknown as TestContext
  let site: Site
  let browser: Awaited<ReturnType<typeof launchBrowser>>
  let repository: Repository
  let github: Awaited<ReturnType<typeof startFakeGithub>>

  before(async () => {
    github = await startFakeGithub()
    scope.after(() => github.close())
    site = await startSite(scope, {
      GITHUB_CLIENT_ID: github.clientId,
      GITHUB_CLIENT_SECRET: github.clientSecret,
      GITHUB_URL: github.url,
      GITHUB_API_URL: github.url
    })
    github.redirectUris.push(`${site.url}/auth/callback`)
    endApps(scope, site)
    browser = await launchBrowser(scope)
    repository = await createRepository(scope)
    await repository.push(appFiles(), { message: 'Say that it runs' })
  })
  after(async () => {
    for (const end of ended) await end()
  })

  async function openPage(
    t: TestContext,
    person: Person | null,
    path: string,
    options?: BrowserContextOptions
  ): Promise<Page> {
    const window = await openWindow(browser, site.url, person, options)
    t.after(() => window.close())
    return open(window, path)
  }

  async function open(window: BrowserContext, path: string): Promise<Page> {
    const page = await window.newPage()
    page.setDefaultTimeout(PATIENCE)
    page.on('dialog', dialog => dialog.accept())
    await page.goto(site.url + path)
    return page
  }

  /** Makes a sign-in so old that sensitive actions require another one. */
  async function growOld(userId: string): Promise<void> {
    const createdAt = new Date(Date.now() - 3_600_000)
    await site.app.db.update(sessions).set({ createdAt }).where(eq(sessions.userId, userId))
    site.app.auth.forget()
  }

  /** Waits until the page shows a deployment that is live. */
  async function isLive(page: Page, isScripted: boolean): Promise<void> {
    if (isScripted) return untilLive(page)
    await page.waitForURL('**/deployments/*')
    await eventually(
      async () => {
        await page.reload()
        return statusOf(page).innerText()
      },
      words => words.startsWith('Live'),
      PATIENCE
    )
  }

  /** From sign-in to the deletion of an app. */
  async function doEverything(page: Page, { fill, press }: Input, person: Person, isScripted: boolean) {
    const button = (name: string) => page.getByRole('button', { name, exact: true })
    const link = (name: string) => page.getByRole('link', { name, exact: true })
    const signIn = async () => {
      await fill(page.getByLabel('Name'), person.username)
      await fill(page.getByLabel('Password'), PASSWORD)
      await press(button('Sign in'))
    }
    await signIn()
    await page.waitForURL('**/dashboard')

    await press(page.getByRole('main').getByRole('link', { name: 'New app' }).first())
    await page.waitForURL('**/apps/new?*')
    await fill(page.getByLabel('Name', { exact: true }), `An app of ${person.username}`)
    await fill(page.getByRole('textbox', { name: 'Repository' }), repository.url)
    await press(button('Create and deploy'))
    await isLive(page, isScripted)

    await press(page.getByRole('navigation', { name: 'Where this is' }).getByRole('link', { name: /^An app of/ }))
    await page.waitForURL(/\/apps\/[\w-]+$/)
    const path = new URL(page.url()).pathname
    await press(button('Deploy'))
    await isLive(page, isScripted)

    await press(link('Deployments').last())
    await page.waitForURL('**/deployments')
    await press(button('Roll back').first())
    await isLive(page, isScripted)
    await page.getByText('Rolls back to').waitFor()

    await page.goto(`${site.url}${path}/settings`)
    await growOld(person.id)
    await press(link('Delete …'))
    await page.getByRole('heading', { name: 'Sign in again' }).waitFor()
    await signIn()
    await page.waitForURL(`**${path}/delete`)
    const confirmation = page.getByLabel(/^Type .* to confirm$/)
    await fill(confirmation, 'another')
    await press(button('Delete the app'))
    await page.getByText(/so nothing was deleted/).waitFor()
    await fill(confirmation, path.slice('/apps/'.length))
    await press(button('Delete the app'))
    await page.waitForURL(/\/apps(\?|$)/)
    await page.getByText('Deleted.').waitFor()
    assert.equal((await page.request.get(site.url + path)).status(), 404)
  }

  it('a user signs in, creates an app, deploys it, rolls it back and deletes it without scripts', async t => {
    const person = await site.person('plain')
    const page = await openPage(t, null, '/login', { javaScriptEnabled: false })
    await doEverything(page, mouse, person, false)
  })

  it('a user does the same with the keyboard only', async t => {
    const person = await site.person('keys')
    const page = await openPage(t, null, '/login')
    await doEverything(page, keyboard(page), person, true)
  })

  it('12. a user with only a GitHub account deletes an app, and is told why a wrong name fails', async t => {
    github.user = fakeUser(77, 'octo')
    const page = await openPage(t, null, '/login')
    await page.getByRole('link', { name: 'Continue with GitHub' }).click()
    await page.waitForURL('**/dashboard')
    const octo = (await site.app.db.select().from(users).where(eq(users.username, 'octo')))[0]!
    await page.goto(`${site.url}/apps/new`)
    await page.getByLabel('Name', { exact: true }).fill('Throwaway')
    await page.getByRole('button', { name: 'Create', exact: true }).click()
    // The page drops the notice's query, often before this looks.
    await page.waitForURL(/\/apps\/throwaway(\?|$)/)
    await growOld(octo.id)
    await page.goto(`${site.url}/apps/throwaway/delete`)
    await page.getByRole('heading', { name: 'Sign in again' }).waitFor()
    await page.getByRole('link', { name: 'Continue with GitHub' }).click()
    await page.waitForURL('**/apps/throwaway/delete')
    await page.getByLabel('Type throwaway to confirm').fill('thrown away')
    await page.getByRole('button', { name: 'Delete the app' }).click()
    await page.getByText('This is not throwaway, so nothing was deleted').waitFor()
    await page.getByLabel('Type throwaway to confirm').fill('throwaway')
    await page.getByRole('button', { name: 'Delete the app' }).click()
    await page.getByText('Deleted.').waitFor()
    assert.equal(await site.app.db.$count(apps, eq(apps.slug, 'throwaway')), 0)
  })
})
