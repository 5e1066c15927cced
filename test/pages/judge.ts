import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { openWindow, type Person } from './site.ts'
import type { Visit } from './visits.ts'

/* Automatic checks of a page: axe, console messages, width and headings. */

const axe = await readFile(fileURLToPath(import.meta.resolve('axe-core/axe.min.js')), 'utf8')

/**
 * Both themes at two widths. Only the rules about colours depend on the theme and the width; at 320 px, narrower than any
 * phone, only the overflow is checked.
 */
const LOOKS = [
  { theme: 'light', width: 1_280, rules: 'all' },
  { theme: 'dark', width: 1_280, rules: 'colours' },
  { theme: 'dark', width: 390, rules: 'all' },
  { theme: 'light', width: 390, rules: 'colours' },
  { theme: 'light', width: 320, rules: 'none' }
] as const
const COLOURS = ['color-contrast', 'link-in-text-block']

const OVERFLOW = 'document.documentElement.scrollWidth - document.documentElement.clientWidth'
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
  /** Whether it is an error page, whose title is the error's. */
  readonly isError: boolean
  readonly faults: readonly string[]
}

/**
 * Opens a page as the visit describes, and checks it in both themes and at all widths.
 *
 * @param window of the person who visits it
 * @param site the origin of the server, the only one that a page may send requests to
 */
async function judge(window: BrowserContext, site: string, visit: Visit): Promise<Judgement> {
  const { path, status = 200, act, headings = 1 } = visit
  const faults: string[] = []
  const page = await window.newPage()
  try {
    listen(page, site, faults)
    const reply = await page.goto(site + path)
    if (reply?.status() !== status) faults.push(`its status is ${reply?.status()} instead of ${status}`)
    await act?.(page)
    const found = await page.locator('h1').count()
    if (found !== headings) faults.push(`it has ${found} h1 headings`)
    await page.evaluate(axe)
    for (const look of LOOKS) faults.push(...(await inspect(page, look)))
    return { title: await page.title(), path: path.split('?', 1)[0]!, isError: status >= 400, faults }
  } finally {
    await page.close()
  }
}

function listen(page: Page, site: string, faults: string[]): void {
  page.on('console', message => {
    const isItself = FAILED_ITSELF.test(message.text()) && message.location().url === page.url()
    if (['error', 'warning'].includes(message.type()) && !isItself) faults.push(`console: ${message.text()}`)
  })
  page.on('pageerror', error => faults.push(`script error: ${error.message}`))
  page.on('request', request => {
    if (!request.url().startsWith(site) && !request.url().startsWith('data:'))
      faults.push(`it requests ${request.url()}`)
  })
}

async function inspect(page: Page, { theme, width, rules }: (typeof LOOKS)[number]): Promise<string[]> {
  const where = `${theme}, ${width} px`
  await page.emulateMedia({ colorScheme: theme })
  await page.setViewportSize({ width, height: 900 })
  const overflow = Number(await page.evaluate(OVERFLOW))
  const tooWide = overflow > 0 ? [`${where}: overflows by ${overflow} px`] : []
  if (rules === 'none') return tooWide
  const options = { resultTypes: ['violations'], ...(rules === 'colours' && { runOnly: COLOURS }) }
  const violations = (await page.evaluate(
    `axe.run(document, ${JSON.stringify(options)}).then(found => found.violations)`
  )) as Violation[]
  return [
    ...tooWide,
    ...violations.map(({ id, help, nodes }) => {
      const places = nodes.map(node => node.html.slice(0, 200)).slice(0, 3)
      return `${where}: ${id}, ${help}: ${places.join(' | ')} ${nodes[0]?.failureSummary ?? ''}`
    })
  ]
}

/** Number of pages checked concurrently. */
const CONCURRENCY = 3

/**
 * Checks all these pages, in one window per person.
 *
 * @param report is called with each result
 */
export async function judgeAll(
  browser: Browser,
  site: string,
  visits: readonly Visit[],
  report: (visit: Visit, judgement: Judgement) => void
): Promise<void> {
  const windows = new Map<Person | null, Promise<BrowserContext>>()
  const windowOf = (person: Person | null) => {
    const window = windows.get(person) ?? openWindow(browser, site, person)
    windows.set(person, window)
    return window
  }
  const list = visits.values()
  const worker = async () => {
    for (const visit of list) report(visit, await judge(await windowOf(visit.as), site, visit))
  }
  await Promise.all(Array.from({ length: CONCURRENCY }, worker))
  for (const window of windows.values()) await (await window).close()
}

/** One sentence per title that several pages share. */
export function sharedTitles(judged: readonly Judgement[]): string[] {
  const pages = judged.filter(({ isError }) => !isError)
  return [...Map.groupBy(pages, ({ title }) => title)].flatMap(([title, pages]) => {
    const paths = [...new Set(pages.map(({ path }) => path))]
    return paths.length > 1 ? [`"${title}" is the title of ${paths.join(', ')}`] : []
  })
}
