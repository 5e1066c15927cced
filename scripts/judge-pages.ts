/**
 * `npm run judge:pages` opens every page in every state, in both themes, at 1,280 and at 320 px, and prints what axe, the
 * console, the width or the headings have to say against it. Exits with 1 when there is anything.
 */
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import type { BrowserContext, Page } from 'playwright-core'
import { startCluster } from '../test/pages/cluster.ts'
import { fill } from '../test/pages/data.ts'
import { launchBrowser, openWindow, type Person, startStillSite } from '../test/pages/site.ts'
import { type Visit, visitsOf } from '../test/pages/visits.ts'

const axe = await readFile(fileURLToPath(import.meta.resolve('axe-core/axe.min.js')), 'utf8')
const THEMES = ['light', 'dark'] as const
const WIDTHS = [1_280, 320] as const
/** Pages that are looked at side by side. */
const WINDOWS = 3

const ROOM = 'document.documentElement.scrollWidth - document.documentElement.clientWidth'
const BY_LOOK = ['color-contrast', 'link-in-text-block', 'scrollable-region-focusable', 'target-size']

const runAxe = (isWhole: boolean) =>
  `window.axe || (() => { ${axe} })(); axe.run(document, ${JSON.stringify({
    resultTypes: ['violations'],
    ...(!isWhole && { runOnly: BY_LOOK })
  })}).then(found => found.violations)`

interface Look {
  readonly theme: (typeof THEMES)[number]
  readonly width: number
  /** Whether by all rules. */
  readonly isWhole: boolean
}

interface Violation {
  readonly id: string
  readonly help: string
  readonly nodes: readonly { readonly html: string; readonly failureSummary?: string }[]
}

const ends: (() => unknown)[] = []
const scope = { after: (end: () => unknown) => void ends.unshift(end) }
const faults: string[] = []
const titles = new Map<string, string[]>()
const windows = new Map<Person | null, Promise<BrowserContext>>()
await startCluster(scope)
const site = await startStillSite(scope)
const visits = visitsOf(await fill(site))
const browser = await launchBrowser(scope)

try {
  const list = [...visits]
  await Promise.all(Array.from({ length: WINDOWS }, () => workOff(list)))
  for (const [title, paths] of titles)
    if (new Set(paths).size > 1) report(`"${title}" is the title of ${[...new Set(paths)].join(', ')}`)
  console.log(faults.length === 0 ? `nothing is wrong with ${visits.length} pages` : `${faults.length} faults`)
  process.exitCode = faults.length > 0 ? 1 : 0
} finally {
  for (const end of ends) await end()
}

function report(fault: string): void {
  faults.push(fault)
  console.error(fault)
}

function windowOf(person: Person | null): Promise<BrowserContext> {
  let window = windows.get(person)
  if (window === undefined) {
    window = openWindow(browser, site.url, person, { bypassCSP: false })
    windows.set(person, window)
  }
  return window
}

async function workOff(visits: Visit[]): Promise<void> {
  for (let visit = visits.shift(); visit !== undefined; visit = visits.shift()) await look(visit)
}

async function look(visit: Visit): Promise<void> {
  const page = await (await windowOf(visit.as)).newPage()
  const fault = (what: string) => report(`${visit.name}: ${what}`)
  page.on('console', message => {
    const isItself =
      /Failed to load resource: .* status of \d+/.test(message.text()) && message.location().url === page.url()
    if (['error', 'warning'].includes(message.type()) && !isItself) fault(`console: ${message.text()}`)
  })
  page.on('pageerror', error => fault(`script: ${error.message}`))
  page.on('request', request => {
    if (!request.url().startsWith(site.url) && !request.url().startsWith('data:')) fault(`asks ${request.url()}`)
  })
  try {
    const reply = await page.goto(site.url + visit.path)
    if (reply?.status() !== (visit.status ?? 200)) fault(`status ${reply?.status()}`)
    await visit.act?.(page)
    const title = await page.title()
    titles.set(title, [...(titles.get(title) ?? []), visit.path.split('?', 1)[0]!])
    const headings = await page.locator('h1').count()
    // That page shows the header of pages once more in each theme.
    if (headings !== 1 && visit.name !== 'design') fault(`${headings} first headings`)
    for (const theme of THEMES) {
      await page.emulateMedia({ colorScheme: theme })
      // What depends on neither theme nor width is looked at twice, and the rest in all four.
      for (const width of WIDTHS)
        await judge(page, { theme, width, isWhole: (theme === 'light') === width > 1_000 }, fault)
    }
  } catch (error) {
    fault(String(error))
  } finally {
    await page.close()
  }
}

async function judge(page: Page, { theme, width, isWhole }: Look, fault: (what: string) => void): Promise<void> {
  await page.setViewportSize({ width, height: 900 })
  const room = Number(await page.evaluate(ROOM))
  const where = `${theme}, ${width} px`
  if (room > 0) fault(`${where}: ${room} px to scroll sideways`)
  for (const { id, help, nodes } of (await page.evaluate(runAxe(isWhole))) as Violation[]) {
    const places = nodes.map(node => node.html.slice(0, 200)).slice(0, 3)
    fault(`${where}: ${id}, ${help}: ${places.join(' | ')} ${nodes[0]?.failureSummary ?? ''}`)
  }
}
