import type { FastifyInstance } from 'fastify'

const INTERVAL = 1_000

/**
 * Failures of a dependency come in floods: the first is logged at once; after that, one line a second gives the number
 * of failures since and the latest one.
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
