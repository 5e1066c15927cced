import type { FastifyInstance } from 'fastify'

const INTERVAL = 1_000

/**
 * Failures of what the server leans on come in floods: the first is logged at once, and then one line a second says how
 * many it stands for, and what the last one was.
 */
export function outageLog(app: FastifyInstance) {
  let timer: NodeJS.Timeout | undefined
  let count = 0
  let last: object = {}

  function write(): void {
    app.log.error({ ...last, count }, 'request failed')
    count = 0
  }

  function turn(): void {
    timer = undefined
    if (count === 0) return
    write()
    wait()
  }

  function wait(): void {
    timer = setTimeout(turn, INTERVAL).unref()
  }

  app.addHook('onClose', async () => {
    clearTimeout(timer)
    if (count > 0) write()
  })

  return {
    note(fields: object): void {
      last = fields
      count++
      if (timer !== undefined) return
      write()
      wait()
    }
  }
}
