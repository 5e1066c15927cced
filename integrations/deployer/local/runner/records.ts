import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { hasCode } from '../../../../plugins/lib/errno.ts'
import type { ProcessIdentity } from '../../../../plugins/lib/processes.ts'
import { type Layout, readPort } from '../layout.ts'
import type { PortRecord } from '../protocol.ts'
import { killOrphans } from './sessions.ts'

/** Keeps what is to be ended when this process is killed; at once, so that there is no moment to be killed in before. */
export function recordProcesses({ processes }: Layout, leaders: readonly ProcessIdentity[]): void {
  try {
    write(processes, leaders)
  } catch (error) {
    // A full disk is no reason to give up what runs; and a directory that was removed will be noticed.
    if (!hasCode(error, 'ENOENT')) console.error(error)
  }
}

/** Ends what a killed runner has left running: it cannot be listened to, and Rhone will have it started anew. */
export function endPredecessor({ processes }: Layout): void {
  for (const leader of readLeaders(processes)) killOrphans(leader)
  write(processes, [])
}

export function recordPort({ port }: Layout, record: PortRecord): void {
  write(port, record)
}

/** First of all where the apps have been opened before, so that links to them stay good; else any. */
export function portsToTry(layout: Layout, configured: number): number[] {
  const before = readPort(layout)
  return [...(before?.configured === configured ? [before.port] : []), configured, 0]
}

function readLeaders(path: string): ProcessIdentity[] {
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return []
    throw error
  }
}

/** Whole or not at all. */
function write(path: string, content: unknown): void {
  writeFileSync(`${path}.new`, JSON.stringify(content), { mode: 0o600 })
  renameSync(`${path}.new`, path)
}
