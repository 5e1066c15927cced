/** The fake as a separate process: `node test/fakes/fly/main.ts [--second=ms] [--port=n] [--limits]` prints its URL. */
import { parseArgs } from 'node:util'
import { startFakeFly } from './server.ts'

const { values } = parseArgs({
  options: {
    second: { type: 'string', default: '1000' },
    port: { type: 'string', default: '0' },
    limits: { type: 'boolean', default: false }
  }
})
const fly = await startFakeFly({
  second: Number(values.second),
  port: Number(values.port),
  limits: values.limits
})
process.once('SIGTERM', () => fly.close())
console.log(JSON.stringify({ url: fly.url, token: fly.token, organization: fly.organization }))
