/**
 * Preloaded into the process of every test file. What a test has left behind, such as a timer, a socket or a loop, would
 * keep the process and so the whole run for ever: here the file fails instead, and says what kept it. Its servers end
 * with it, or they would hold connections that other files need.
 */
import { readFileSync } from 'node:fs'

const seconds = Number(process.env.RHONE_TEST_DEADLINE ?? 240)

setTimeout(() => {
  const kept = process.getActiveResourcesInfo().join(', ')
  console.error(`${process.argv[1]} has not ended after ${seconds} s; still there: ${kept}`)
  for (const pid of descendants(process.pid)) end(pid)
  process.exit(1)
}, seconds * 1_000).unref()

/** The processes that this one has started, and theirs, as far as they are still its. Linux alone tells. */
function descendants(pid: number): number[] {
  const children = readChildren(pid)
  return [...children, ...children.flatMap(descendants)]
}

function readChildren(pid: number): number[] {
  try {
    const listed = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
    return listed.split(' ').filter(Boolean).map(Number)
  } catch {
    return []
  }
}

function end(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It has ended by itself.
  }
}
