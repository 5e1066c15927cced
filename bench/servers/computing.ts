/** Replaces the routes through `RHONE_SWAP`: all of them, plus some whose handlers use CPU. */
import type { FastifyInstance } from 'fastify'
import routes, { type RoutesOptions } from '../../routes/index.ts'
import { reads } from '../../routes/lib/policy.ts'
import { addComputing } from './compute.ts'

export default async function computing(app: FastifyInstance, options: RoutesOptions): Promise<void> {
  await app.register(routes, options)
  addComputing(app, { ...reads, access: 'public', slo: 'detail' })
}
