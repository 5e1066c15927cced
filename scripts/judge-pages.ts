/**
 * `npm run judge:pages` opens every page in every state, in both themes, at 1,280, 390 and 320 px, and prints problems
 * reported by axe, the console, the width or the headings. Exits with 1 if there are any.
 *
 * - `--only NAME,NAME`: only these visits
 */
import { parseArgs } from 'node:util'
import { startCluster } from '../test/pages/cluster.ts'
import { fill } from '../test/pages/data.ts'
import { type Judgement, judgeAll, sharedTitles } from '../test/pages/judge.ts'
import { launchBrowser, startStillSite } from '../test/pages/site.ts'
import { visitsOf } from '../test/pages/visits.ts'

const { values } = parseArgs({ options: { only: { type: 'string' } } })
const only = values.only?.split(',')
const ends: (() => unknown)[] = []
const scope = { after: (end: () => unknown) => void ends.unshift(end) }
const judged: Judgement[] = []
let count = 0

try {
  await startCluster(scope)
  const site = await startStillSite(scope)
  const [data, browser] = await Promise.all([fill(site), launchBrowser(scope)])
  const visits = visitsOf(data).filter(({ name }) => only === undefined || only.includes(name))
  await judgeAll(browser, site.url, visits, ({ name }, judgement) => {
    for (const fault of judgement.faults) report(`${name}: ${fault}`)
    judged.push(judgement)
  })
  for (const fault of sharedTitles(judged)) report(fault)
  console.log(count === 0 ? `no problems on ${visits.length} pages` : `${count} problems`)
  process.exitCode = count > 0 ? 1 : 0
} finally {
  for (const end of ends) await end()
}

function report(fault: string): void {
  count++
  console.error(fault)
}
