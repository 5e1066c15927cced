/**
 * `npm run screenshots` takes screenshots of pages, on a server with its own database and invented people and apps. Those of
 * the guides go to `docs/user/`; the preview image of links is `public/og.png`.
 *
 * - `--all DIRECTORY`: instead all pages, in both themes and at 390 and 1,280 px
 * - `--only NAME,NAME`: of those, only these
 */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { Page } from 'playwright-core'
import { startCluster } from '../test/pages/cluster.ts'
import { fill } from '../test/pages/data.ts'
import { launchBrowser, openWindow, startStillSite } from '../test/pages/site.ts'
import { type Visit, visitsOf } from '../test/pages/visits.ts'
import { linkCard } from './card.ts'
import { smallPng } from './small-png.ts'

const ROOT = join(import.meta.dirname, '..')
const IN_GUIDES: readonly string[] = ['dashboard', 'app', 'deployment-failed', 'app-logs', 'team']
const GUIDE_SIZE = { width: 1_280, height: 800 }
const CARD_SIZE = { width: 1_200, height: 630 }
const SIZES = [
  { width: 1_280, height: 800 },
  { width: 390, height: 844 }
]

const { values } = parseArgs({ options: { all: { type: 'string' }, only: { type: 'string' } } })
const ends: (() => unknown)[] = []
const scope = { after: (end: () => unknown) => void ends.unshift(end) }

try {
  await startCluster(scope)
  const site = await startStillSite(scope)
  const [data, browser] = await Promise.all([fill(site), launchBrowser(scope)])
  const visits = visitsOf(data)

  /** Opens a page as its person, and passes it to the callback. */
  const show = async (visit: Visit, options: object, take: (page: Page) => Promise<void>) => {
    const window = await openWindow(browser, site.url, visit.as, options)
    const page = await window.newPage()
    page.on('console', message => message.type() === 'error' && console.error(`${visit.name}: ${message.text()}`))
    page.on('pageerror', error => console.error(`${visit.name}: ${error.stack}`))
    await page.goto(site.url + visit.path)
    await visit.act?.(page)
    await page.waitForLoadState('load')
    await page.evaluate('document.fonts.ready')
    await take(page)
    await window.close()
  }

  if (values.all === undefined) {
    const directory = join(ROOT, 'docs/user/pictures')
    await mkdir(directory, { recursive: true })
    for (const visit of visits.filter(({ name }) => IN_GUIDES.includes(name)))
      await show(visit, { viewport: GUIDE_SIZE, colorScheme: 'light' }, async page => {
        await keep(join(directory, `${visit.name}.png`), await page.screenshot())
      })
    const page = await browser.newPage({ viewport: CARD_SIZE })
    await page.setContent(linkCard())
    await keep(join(ROOT, 'public/og.png'), await page.screenshot())
  } else {
    const only = values.only?.split(',')
    await mkdir(values.all, { recursive: true })
    for (const visit of visits.filter(({ name }) => only === undefined || only.includes(name)))
      await show(visit, {}, async page => {
        for (const colorScheme of ['light', 'dark'] as const)
          for (const size of SIZES) {
            await page.emulateMedia({ colorScheme })
            await page.setViewportSize(size)
            const path = join(values.all!, `${visit.name}-${size.width}-${colorScheme}.png`)
            await page.screenshot({ path, fullPage: true })
          }
      })
  }
} finally {
  for (const end of ends) await end()
}

async function keep(path: string, png: Buffer): Promise<void> {
  const small = smallPng(png)
  await writeFile(path, small)
  console.log(`${path}: ${(small.length / 1_000).toFixed(0)} kB`)
}
