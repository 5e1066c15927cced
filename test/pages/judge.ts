import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { openWindow, type Person } from './site.ts'
import type { Visit } from './visits.ts'

/* What can be said against a page without looking at it: by axe, by its console, by its width and by its headings. */

const axe = await readFile(fileURLToPath(import.meta.resolve('axe-core/axe.min.js')), 'utf8')

/**
 * Every theme at every width. All rules of axe depend on at most one of the two, but those about colours; a page that is
 * narrower than any phone is asked for its width alone.
 */
const LOOKS = [
  { theme: 'light', width: 1_280, rules: 'all' },
  { theme: 'dark', width: 1_280, rules: 'colours' },
  { theme: 'dark', width: 390, rules: 'all' },
  { theme: 'light', width: 390, rules: 'colours' },
  { theme: 'light', width: 320, rules: 'none' }
] as const
const COLOURS = ['color-contrast', 'link-in-text-block']

const ROOM = 'document.documentElement.scrollWidth - document.documentElement.clientWidth'
const FAILED_ITSELF = /Failed to load resource: .* status of \d+/

interface Violation {
  readonly id: string
  readonly help: string
  readonly nodes: readonly { readonly html: string; readonly failureSummary?: string }[]
}

export interface Judgement {
  readonly title: string
  /** The path of the page, without its query. */
  readonly path: string
  /** It is the page of an error, which the title names. */
  readonly isError: boolean
  readonly faults: readonly string[]
}

/**
 * Opens a page as its visit says, and looks at it in both themes and at every width.
 *
 * @param window of the person who visits it
 * @param site the URL of the server, which is the only one that a page may ask for anything
 */
async function judge(window: BrowserContext, site: string, visit: Visit): Promise<Judgement> {
  const { path, status = 200, act, headings = 1 } = visit
  const faults: string[] = []
  const page = await window.newPage()
  try {
    listen(page, site, faults)
    const reply = await page.goto(site + path)
    if (reply?.status() !== status) faults.push(`its status is ${reply?.status()} and not ${status}`)
    await act?.(page)
    const found = await page.locator('h1').count()
    if (found !== headings) faults.push(`it has ${found} first headings`)
    await page.evaluate(axe)
    for (const look of LOOKS) faults.push(...(await see(page, look)))
    return { title: await page.title(), path: path.split('?', 1)[0]!, isError: status >= 400, faults }
  } finally {
    await page.close()
  }
}

function listen(page: Page, site: string, faults: string[]): void {
  page.on('console', message => {
    const isItself = FAILED_ITSELF.test(message.text()) && message.location().url === page.url()
    if (['error', 'warning'].includes(message.type()) && !isItself) faults.push(`its console: ${message.text()}`)
  })
  page.on('pageerror', error => faults.push(`its scripts: ${error.message}`))
  page.on('request', request => {
    if (!request.url().startsWith(site) && !request.url().startsWith('data:')) faults.push(`it asks ${request.url()}`)
  })
}

async function see(page: Page, { theme, width, rules }: (typeof LOOKS)[number]): Promise<string[]> {
  const where = `${theme}, ${width} px`
  await page.emulateMedia({ colorScheme: theme })
  await page.setViewportSize({ width, height: 900 })
  const room = Number(await page.evaluate(ROOM))
  const sideways = room > 0 ? [`${where}: ${room} px to scroll sideways`] : []
  if (rules === 'none') return sideways
  const options = { resultTypes: ['violations'], ...(rules === 'colours' && { runOnly: COLOURS }) }
  const violations = (await page.evaluate(
    `axe.run(document, ${JSON.stringify(options)}).then(found => found.violations)`
  )) as Violation[]
  return [
    ...sideways,
    ...violations.map(({ id, help, nodes }) => {
      const places = nodes.map(node => node.html.slice(0, 200)).slice(0, 3)
      return `${where}: ${id}, ${help}: ${places.join(' | ')} ${nodes[0]?.failureSummary ?? ''}`
    })
  ]
}

/** Pages that are looked at side by side. */
const SIDE_BY_SIDE = 3

/**
 * Judges all these pages, in one window for each person.
 *
 * @param tell is told of each judgement as soon as it is there
 */
export async function judgeAll(
  browser: Browser,
  site: string,
  visits: readonly Visit[],
  tell: (visit: Visit, judgement: Judgement) => void
): Promise<void> {
  const windows = new Map<Person | null, Promise<BrowserContext>>()
  const windowOf = (person: Person | null) => {
    const window = windows.get(person) ?? openWindow(browser, site, person)
    windows.set(person, window)
    return window
  }
  const list = visits.values()
  const workOff = async () => {
    for (const visit of list) tell(visit, await judge(await windowOf(visit.as), site, visit))
  }
  await Promise.all(Array.from({ length: SIDE_BY_SIDE }, workOff))
  for (const window of windows.values()) await (await window).close()
}

/** A sentence for each title that several pages share. */
export function sharedTitles(judged: readonly Judgement[]): string[] {
  const pages = judged.filter(({ isError }) => !isError)
  return [...Map.groupBy(pages, ({ title }) => title)].flatMap(([title, pages]) => {
    const paths = [...new Set(pages.map(({ path }) => path))]
    return paths.length > 1 ? [`"${title}" is the title of ${paths.join(', ')}`] : []
  })
}
