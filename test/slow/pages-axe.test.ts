import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { BrowserContext } from 'playwright-core'
import { type Data, fill } from '../pages/data.ts'
import { type Judgement, judge, sharedTitles } from '../pages/judge.ts'
import { launchBrowser, openWindow, type Person, type Site, skip, startStillSite } from '../pages/site.ts'
import { type Visit, visitsOf, visitsWhileClosed, visitsWithoutDatabase } from '../pages/visits.ts'
import { freshDatabase } from '../support/database.ts'
import { eventually } from '../support/eventually.ts'
import { tcpProxy } from '../support/tcp-proxy.ts'

/** Pages that are looked at side by side. */
const SIDE_BY_SIDE = 3

test('nothing can be said against any page, in any state, in either theme, at 1,280 and at 320 px', {
  skip
}, async t => {
  const database = await tcpProxy(t, await freshDatabase(t))
  const site = await startStillSite(t, { DATABASE_URL: database.url })
  const [data, browser] = await Promise.all([fill(site), launchBrowser(t)])
  const windows = new Map<Person | null, Promise<BrowserContext>>()
  const windowOf = (person: Person | null) => {
    const window = windows.get(person) ?? openWindow(browser, site.url, person)
    windows.set(person, window)
    return window
  }

  const judgeAll = async (t: TestContext, visits: readonly Visit[]): Promise<Judgement[]> => {
    const list = [...visits]
    const judged: Judgement[] = []
    const workOff = async () => {
      for (let visit = list.shift(); visit !== undefined; visit = list.shift()) {
        const { as, name } = visit
        const its = visit
        await t.test(`the page "${name}"`, async () => {
          const judgement = await judge(await windowOf(as), site.url, its)
          judged.push(judgement)
          assert.deepEqual(judgement.faults, [])
        })
      }
    }
    await Promise.all(Array.from({ length: SIDE_BY_SIDE }, workOff))
    return judged
  }
  const together = { concurrency: SIDE_BY_SIDE }

  await t.test('while all is well', together, async t => {
    const judged = await judgeAll(t, visitsOf(data))
    assert.deepEqual(sharedTitles(judged), [])
  })
  await t.test('while the platform is closed', together, t => whileClosed(t, site, data, judgeAll))
  await t.test('while the database is away', together, async t => {
    await database.stop()
    await eventually(
      () => site.app.inject('/ready'),
      ({ statusCode }) => statusCode === 503
    )
    await judgeAll(t, visitsWithoutDatabase(data))
    await database.start()
  })
})

async function whileClosed(
  t: TestContext,
  { app }: Site,
  data: Data,
  judgeAll: (t: TestContext, visits: readonly Visit[]) => Promise<unknown>
): Promise<void> {
  const until = new Date(Date.now() + 3_600_000).toISOString()
  await app.maintenance.set({ enabled: true, message: 'The database moves to <b>another</b> machine.', until }, null)
  await judgeAll(t, visitsWhileClosed(data))
  await app.maintenance.set({ enabled: false }, null)
}
