import assert from 'node:assert/strict'
import { after, before, describe, it, type TestContext } from 'node:test'
import { fill } from '../pages/data.ts'
import { type Judgement, judgeAll, sharedTitles } from '../pages/judge.ts'
import { launchBrowser, skip, startStillSite } from '../pages/site.ts'
import { visitsOf } from '../pages/visits.ts'

describe('every page, in every state, in both themes, on a desk and on a phone', { skip }, () => {
  const ended: (() => unknown)[] = []
  const scope = { after: (fn: () => unknown) => void ended.unshift(fn) } as unknown as TestContext
  const judged: Judgement[] = []
  const faults: string[] = []

  before(async () => {
    const site = await startStillSite(scope)
    const [data, browser] = await Promise.all([fill(site), launchBrowser(scope)])
    await judgeAll(browser, site.url, visitsOf(data), ({ name }, judgement) => {
      judged.push(judgement)
      faults.push(...judgement.faults.map(fault => `${name}: ${fault}`))
    })
  })
  after(async () => {
    for (const end of ended) await end()
  })

  it('has no axe violations, console messages or overflow', () => {
    assert.deepEqual(faults, [])
  })

  it('has a unique title', () => {
    assert.deepEqual(sharedTitles(judged), [])
  })
})
