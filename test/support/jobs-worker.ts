/** Takes a job and never finishes it: `node jobs-worker.ts <database url> <queue>`. */
import { jobServer, newQueue } from './jobs.ts'

const [url = '', name = ''] = process.argv.slice(2)
const queue = {
  ...newQueue(async () => {
    process.send?.('begun')
    await new Promise(() => {})
  }),
  name,
  retries: 3
}
const { app } = await jobServer({ after() {} }, url, { queues: [queue] })
await app.jobs.start()
process.send?.('ready')
