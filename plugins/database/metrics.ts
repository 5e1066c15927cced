import { counter, gauge, histogram } from '../lib/metrics.ts'
import type { Registry } from '../lib/registry.ts'
import type { Observe } from './client.ts'
import type { Hosts } from './hosts.ts'
import type { Pool } from './pool.ts'

export function measurePool(registry: Registry | undefined, pool: Pool): void {
  const connections = gauge(registry, {
    name: 'rhone_db_pool_connections',
    help: 'Connections of the pool by state; waiting: operations waiting for one.',
    labelNames: ['state'],
    collect() {
      const { inUse, idle, waiting } = pool.stats
      connections.set({ state: 'in_use' }, inUse)
      connections.set({ state: 'idle' }, idle)
      connections.set({ state: 'waiting' }, waiting)
    }
  })
}

export function queryObserver(registry: Registry | undefined): Observe | undefined {
  if (registry === undefined) return undefined
  const duration = histogram(registry, {
    name: 'rhone_db_query_duration_seconds',
    help: 'Duration of statements and whole transactions, without the wait for a connection.',
    labelNames: ['query'],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 5]
  })
  return (query, seconds) => duration.observe({ query }, seconds)
}

export function measureHosts(registry: Registry | undefined, hosts: Hosts): void {
  const timeline = gauge(registry, {
    name: 'rhone_db_timeline',
    help: 'The timeline of the primary, which every promotion raises; 0 while no host accepts writes.',
    aggregator: 'max',
    collect() {
      timeline.set(hosts.primary?.timeline ?? 0)
    }
  })
}

/** `behind`: the replica did not have the needed changes in time; `failed`: it did not answer. */
const READ_OUTCOMES = ['replica', 'primary', 'behind', 'failed'] as const
export type ReadOutcome = (typeof READ_OUTCOMES)[number]

export function readObserver(registry: Registry | undefined): (outcome: ReadOutcome) => void {
  const reads = counter(registry, {
    name: 'rhone_db_reads_total',
    help: 'Reads allowed on a replica, by who answered: replica, primary, or the primary because the replica lagged or failed.',
    labelNames: ['outcome']
  })
  for (const outcome of READ_OUTCOMES) reads.inc({ outcome }, 0)
  return outcome => reads.inc({ outcome })
}
