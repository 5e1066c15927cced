import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import * as schemas from '../../schemas/backups.ts'
import { changes } from '../lib/change.ts'
import { operators } from '../lib/policy.ts'

/** Backups and drills, for operators. */
const backups: FastifyPluginCallbackTypebox = (app, _options, done) => {
  const change = changes(app)

  app.get('/backups', {
    schema: schemas.listBackups,
    config: { ...operators, slo: 'search' },
    handler: async () => {
      const [found, drill] = await Promise.all([app.backups.list(), app.backups.lastDrill()])
      const items = found.map(({ id, state, problem, takenAt, bytes, descriptor }) => ({
        id,
        state,
        problem,
        takenAt,
        bytes,
        rows: descriptor?.rows ?? null,
        release: descriptor?.release ?? null,
        checked: descriptor?.checked ?? null
      }))
      return { items, lastDrill: drill }
    }
  })

  app.post('/backups', {
    schema: schemas.createBackup,
    config: { ...operators, slo: 'write', audit: { type: 'admin', action: 'create', resource: 'backup' } },
    handler: (request, reply) =>
      change(request, reply, async tx => {
        const job = await app.backups.request(tx, 'operator')
        return { status: 202, body: { job, state: 'waiting' }, audit: { details: { trigger: 'operator' } } }
      })
  })

  done()
}

export default backups
