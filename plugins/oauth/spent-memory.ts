import { growingLru } from '../lib/growing-lru.ts'
import type { SpentSignIns } from './port.ts'

/** In-memory store for a single-process server. */
export function memorySpentSignIns(max = 10_000): SpentSignIns {
  const spent = growingLru<string, true>(max)
  return {
    async spend(hash, until) {
      const key = hash.toString('base64')
      if (spent.has(key)) return false
      spent.set(key, true, { ttl: Math.max(1, until.getTime() - Date.now()) })
      return true
    }
  }
}
