import { setTimeout as delay } from 'node:timers/promises'

export interface AsideReport {
  asked: number
  answered: number
  /** Milliseconds. */
  p95: number
}

/** Routes that must answer under any load. */
const PATHS = ['/health', '/metrics', '/admin/stats']
const PAUSE = 100

/** Requests each of {@link PATHS} about ten times a second until stopped. */
export function watch(url: string, headers: Readonly<Record<string, string>>) {
  let isOver = false
  const reports = PATHS.map(async path => {
    const times: number[] = []
    let asked = 0
    while (!isOver) {
      const start = performance.now()
      asked++
      // Scrapes need no token here, and the operator's token is not a scrape token.
      const reply = await fetch(url + path, { headers: path === '/metrics' ? {} : headers }).catch(() => undefined)
      await reply?.arrayBuffer()
      if (reply?.ok) times.push(performance.now() - start)
      await delay(PAUSE)
    }
    times.sort((a, b) => a - b)
    return [path, { asked, answered: times.length, p95: times[Math.floor(times.length * 0.95)] ?? 0 }] as const
  })
  return {
    async stop(): Promise<Record<string, AsideReport>> {
      isOver = true
      return Object.fromEntries(await Promise.all(reports))
    }
  }
}
