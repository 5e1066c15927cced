import { readFileSync } from 'node:fs'

/**
 * Ends this process if `file` runs for longer than `seconds`. A timer, socket or loop left by a test would block the
 * run forever; instead, the file fails and the message names the cause. Its servers end with it, or they would hold
 * connections that other files need.
 *
 * @returns a function to call when the file has ended
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

/** The descendants of this process. Linux only. */
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
    // It has already exited.
  }
}
