import assert from 'node:assert/strict'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { leaveCluster } from './database.ts'
import { setDeadline } from './deadline.ts'

export interface Together {
  /** Paths from the working directory, slowest first. */
  readonly files: readonly string[]
  /** Maximum number of them that this process runs. */
  readonly share: number
  /** The directory in which processes record the files they have taken. */
  readonly claims: string
  /** Seconds that a file may take, and seconds for anything left by the last one to end. */
  readonly deadline: number
  readonly grace: number
}

/** Runs files that no other process has taken, one after the other, each as a test that contains the file's tests. */
export async function runTogether({ files, share, claims, deadline, grace }: Together): Promise<void> {
  // A test that waits only for another process must not end because this one is otherwise idle.
  const awake = setInterval(() => {}, 60_000)
  let taken = 0
  for (const [at, file] of files.entries()) {
    if (taken >= share) break
    if (!(await claim(join(claims, `${at}.taken`)))) continue
    taken++
    const inTime = setDeadline(file, deadline)
    await test(file, async t => {
      t.after(refuseMocks)
      await import(pathToFileURL(file).href)
    })
    await leaveCluster()
    inTime()
  }
  clearInterval(awake)
  setDeadline('what these files have left behind', grace)
}

const { now } = performance
const { now: date } = Date
const timer = setTimeout

/** A clock that a file leaves mocked would block the following files. */
function refuseMocks(): void {
  assert.equal(performance.now, now, 'this file has left performance.now mocked')
  assert.equal(Date.now, date, 'this file has left Date.now mocked')
  assert.equal(setTimeout, timer, 'this file has left setTimeout mocked')
}

async function claim(path: string): Promise<boolean> {
  try {
    await using _file = await open(path, 'wx')
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}
