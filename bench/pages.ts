/**
 * `npm run bench -- pages [--requests=200]`: the server's CPU time for each page of a team with apps in every state.
 * Exits with 1 when a page exceeds the goal.
 */
import { parseArgs } from 'node:util'
import { startCluster } from '../test/pages/cluster.ts'
import { fill } from '../test/pages/data.ts'
import { type Person, startStillSite } from '../test/pages/site.ts'
import { visitsOf } from '../test/pages/visits.ts'

/** Milliseconds of CPU. */
const GOAL = 3
const WARM_UP = 60

const { values } = parseArgs({ options: { requests: { type: 'string', default: '200' } }, allowPositionals: true })
const requests = Number(values.requests)
const ends: (() => unknown)[] = []
const scope = { after: (end: () => unknown) => void ends.unshift(end) }

try {
  await startCluster(scope)
  const site = await startStillSite(scope)
  const visits = visitsOf(await fill(site)).filter(({ act, name }) => act === undefined && name !== 'design')
  const missed: string[] = []
  for (const { name, path, as } of visits) {
    const ask = () =>
      site.app.inject({
        url: path,
        headers: { accept: 'text/html', host: new URL(site.url).host, cookie: cookieOf(as) }
      })
    const { body } = await ask()
    for (let at = 0; at < WARM_UP; at++) await ask()
    const before = process.cpuUsage()
    for (let at = 0; at < requests; at++) await ask()
    const { user, system } = process.cpuUsage(before)
    const each = (user + system) / 1_000 / requests
    if (each > GOAL) missed.push(name)
    console.log(
      `${name.padEnd(24)} ${each.toFixed(2).padStart(6)} ms of CPU ${(body.length / 1_000).toFixed(1).padStart(7)} kB`
    )
  }
  if (missed.length > 0) console.error(`above ${GOAL} ms: ${missed.join(', ')}`)
  process.exitCode = missed.length > 0 ? 1 : 0

  function cookieOf(person: Person | null): string {
    const jar = person?.browser.cookies.get(new URL(site.url).origin) ?? []
    return [...jar].map(([name, value]) => `${name}=${value}`).join('; ')
  }
} finally {
  for (const end of ends) await end()
}
