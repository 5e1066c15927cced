import { closeSync, fsyncSync, openSync, renameSync, writeSync } from 'node:fs'
import { hasCode } from '../../../../plugins/lib/errno.ts'
import { OwnedProcesses } from '../../../../plugins/lib/owned-processes.ts'
import { findProcess } from '../../../../plugins/lib/process-table.ts'
import type { ProcessIdentity } from '../../../../plugins/lib/processes.ts'
import { type Layout, readJson, readPort } from '../layout.ts'
import type { PortRecord } from '../protocol.ts'
import { accountsOf } from './account.ts'

/** Set in the environment of every process that this directory's runner starts. */
export const markOf = ({ root }: Layout): string => `RHONE_RUNNER=${root}`

/** Records the processes to end if this process is killed. Synchronous, so that a kill cannot come in between. */
export function recordProcesses({ processes }: Layout, leaders: readonly ProcessIdentity[]): void {
  try {
    write(processes, leaders)
  } catch (error) {
    // A full disk is no reason to end running apps, and a deleted directory is noticed elsewhere.
    if (!hasCode(error, 'ENOENT')) console.error(error)
  }
}

/**
 * Ends the processes of a killed runner: their output is lost, and Rhone has the apps started again. They are found by
 * the apps' users and by the mark; the record only helps where the system reveals neither.
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

/** If the port cannot be recorded, it is still used, but the next runner may get another one. */
export function recordPort({ port }: Layout, record: PortRecord): void {
  try {
    write(port, record)
  } catch (error) {
    console.error(error)
  }
}

/** Tries the previous port first, so that existing links stay valid, then any. */
export function portsToTry(layout: Layout, configured: number): number[] {
  const before = readPort(layout)
  return [...(before?.configured === configured ? [before.port] : []), configured, 0]
}

function readLeaders(path: string): ProcessIdentity[] {
  const leaders = readJson(path)
  return Array.isArray(leaders) ? leaders.filter(({ pid }) => Number.isInteger(pid) && pid > 1) : []
}

/** Writes atomically, even across a power loss. */
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
