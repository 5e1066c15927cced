/** Takes the place of the routes, as `RHONE_SWAP` puts it there: all of them, and some whose handlers use CPU. */
import type { FastifyInstance } from 'fastify'
import routes, { type RoutesOptions } from '../../routes/index.ts'
import { reads } from '../../routes/lib/policy.ts'
import { addComputing } from './compute.ts'

export default async function computing(app: FastifyInstance, options: RoutesOptions): Promise<void> {
  await app.register(routes, options)
  addComputing(app, { ...reads, access: 'public', slo: 'detail' })
}
