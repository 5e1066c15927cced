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
  /** How many of them this process runs at most. */
  readonly share: number
  /** The directory in which processes record the files they have taken. */
  readonly claims: string
  /** Seconds until a file that still runs has failed, and seconds for what the last one leaves behind to end. */
  readonly deadline: number
  readonly grace: number
}

/** Runs files that no other process has taken, one after the other, each as a test that has the file's tests as its own. */
export async function runTogether({ files, share, claims, deadline, grace }: Together): Promise<void> {
  // A test whose only hope is an event of another process may not end because this one has nothing else to do.
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

/** A clock that a file leaves mocked would stop the files after it. */
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
