/**
 * `npm run judge:pages` opens every page in every state, in both themes, at 1,280 and at 320 px, and prints what axe, the
 * console, the width or the headings have to say against it. Exits with 1 when there is anything.
 *
 * - `--only NAME,NAME`: only these visits
 */
import { parseArgs } from 'node:util'
import type { BrowserContext } from 'playwright-core'
import { startCluster } from '../test/pages/cluster.ts'
import { fill } from '../test/pages/data.ts'
import { type Judgement, judge, sharedTitles } from '../test/pages/judge.ts'
import { launchBrowser, openWindow, type Person, startStillSite } from '../test/pages/site.ts'
import { type Visit, visitsOf } from '../test/pages/visits.ts'

/** Pages that are looked at side by side. */
const SIDE_BY_SIDE = 3

const { values } = parseArgs({ options: { only: { type: 'string' } } })
const only = values.only?.split(',')
const ends: (() => unknown)[] = []
const scope = { after: (end: () => unknown) => void ends.unshift(end) }
const windows = new Map<Person | null, Promise<BrowserContext>>()
const judged: Judgement[] = []
let count = 0

try {
  await startCluster(scope)
  const site = await startStillSite(scope)
  const [data, browser] = await Promise.all([fill(site), launchBrowser(scope)])
  const visits = visitsOf(data).filter(({ name }) => only === undefined || only.includes(name))

  const windowOf = (person: Person | null) => {
    const window = windows.get(person) ?? openWindow(browser, site.url, person)
    windows.set(person, window)
    return window
  }
  const workOff = async (list: Visit[]) => {
    for (let visit = list.shift(); visit !== undefined; visit = list.shift()) {
      const judgement = await judge(await windowOf(visit.as), site.url, visit)
      for (const fault of judgement.faults) report(`${visit.name}: ${fault}`)
      judged.push(judgement)
    }
  }
  const list = [...visits]
  await Promise.all(Array.from({ length: SIDE_BY_SIDE }, () => workOff(list)))
  for (const fault of sharedTitles(judged)) report(fault)
  console.log(count === 0 ? `nothing is wrong with ${visits.length} pages` : `${count} faults`)
  process.exitCode = count > 0 ? 1 : 0
} finally {
  for (const end of ends) await end()
}

function report(fault: string): void {
  count++
  console.error(fault)
}
