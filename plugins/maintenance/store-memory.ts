import { type MaintenanceStore, openState } from './state.ts'

/** Keeps the state in this process, for its lifetime. */
export function memoryMaintenanceStore(): MaintenanceStore {
  let state = openState(null)
  return {
    load: async () => state,
    async update(decide, record) {
      const before = state
      const after = decide(before)
      if (after !== before) await record?.(null, before, after)
      state = after
      return after
    },
    subscribe: async () => async () => {}
  }
}
