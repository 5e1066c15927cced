import { readFileSync } from 'node:fs'

/**
 * Ends this process if `file` keeps it for longer than `seconds`. A timer, a socket or a loop that a test has left
 * behind would keep the run for ever; here the file fails instead, and the message says what kept it. Its servers end
 * with it, or they would hold connections that other files need.
 *
 * @returns to be called when the file has ended
 */
export function setDeadline(file: string, seconds: number): () => void {
  const timer = setTimeout(() => {
    const kept = process.getActiveResourcesInfo().join(', ')
    console.error(`${file} has not ended after ${seconds} s; still there: ${kept}`)
    for (const pid of descendants(process.pid)) end(pid)
    process.exit(1)
  }, seconds * 1_000).unref()
  return () => clearTimeout(timer)
}

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
