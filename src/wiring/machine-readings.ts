import { statfs } from 'node:fs/promises'
import type { Reading } from '../../plugins/gauges.ts'

/** The machine's capacity, for alerts that compare it with usage. */
export function machineReadings(dataDir: string, memoryLimit: number): Reading[] {
  const disk = async (blocks: 'blocks' | 'bavail') => {
    const found = await statfs(dataDir)
    return found[blocks] * found.bsize
  }
  return [
    {
      name: 'rhone_memory_limit_bytes',
      help: 'Memory limit in bytes that resident memory is compared with.',
      read: async () => memoryLimit
    },
    {
      name: 'rhone_disk_size_bytes',
      help: 'Size of the file system that holds DATA_DIR.',
      read: () => disk('blocks')
    },
    {
      name: 'rhone_disk_free_bytes',
      help: 'Free space of the file system that holds DATA_DIR, for this user.',
      read: () => disk('bavail')
    }
  ]
}
