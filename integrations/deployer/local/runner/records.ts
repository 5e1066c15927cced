import { closeSync, fsyncSync, openSync, renameSync, writeSync } from 'node:fs'
import { hasCode } from '../../../../plugins/lib/errno.ts'
import { OwnedProcesses } from '../../../../plugins/lib/owned-processes.ts'
import { findProcess } from '../../../../plugins/lib/process-table.ts'
import type { ProcessIdentity } from '../../../../plugins/lib/processes.ts'
import { type Layout, readJson, readPort } from '../layout.ts'
import type { PortRecord } from '../protocol.ts'
import { accountsOf } from './account.ts'

/** In the environment of every process that a runner of this directory starts. */
export const markOf = ({ root }: Layout): string => `RHONE_RUNNER=${root}`

/** Keeps what is to be ended when this process is killed; at once, so that there is no moment to be killed in before. */
export function recordProcesses({ processes }: Layout, leaders: readonly ProcessIdentity[]): void {
  try {
    write(processes, leaders)
  } catch (error) {
    // A full disk is no reason to give up what runs; and a directory that was removed will be noticed.
    if (!hasCode(error, 'ENOENT')) console.error(error)
  }
}

/**
 * Ends what a killed runner has left running: it cannot be listened to, and Rhone will have it started anew. What runs is
 * found by the users of the apps and by the mark; what was written down only helps where the system tells neither.
 */
export async function endPredecessor(layout: Layout): Promise<void> {
  const mark = markOf(layout)
  const marked = new OwnedProcesses({ account: null, mark })
  for (const leader of readLeaders(layout.processes))
    if (findProcess(leader.pid)?.startedAt === leader.startedAt) marked.add(leader.pid)
  const ofUsers = accountsOf(layout).map(account => new OwnedProcesses({ account, mark }))
  for (const left of [marked, ...ofUsers]) await left.end(0).catch(console.error)
  recordProcesses(layout, [])
}

/** A port that cannot be written down is used all the same, and the next runner may get another one. */
export function recordPort({ port }: Layout, record: PortRecord): void {
  try {
    write(port, record)
  } catch (error) {
    console.error(error)
  }
}

/** First of all where the apps have been opened before, so that links to them stay good; else any. */
export function portsToTry(layout: Layout, configured: number): number[] {
  const before = readPort(layout)
  return [...(before?.configured === configured ? [before.port] : []), configured, 0]
}

function readLeaders(path: string): ProcessIdentity[] {
  const leaders = readJson(path)
  return Array.isArray(leaders) ? leaders.filter(({ pid }) => Number.isInteger(pid) && pid > 1) : []
}

/** Whole or not at all, after a loss of power too. */
function write(path: string, content: unknown): void {
  const file = openSync(`${path}.new`, 'w', 0o600)
  try {
    writeSync(file, JSON.stringify(content))
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
  renameSync(`${path}.new`, path)
}
