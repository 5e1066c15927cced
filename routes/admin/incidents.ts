import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import { errors } from '../../plugins/lib/errors.ts'
import * as schemas from '../../schemas/incidents.ts'
import {
  closeIncident,
  findIncident,
  type IncidentChange,
  listIncidents,
  openIncident,
  updateIncident
} from '../../src/domain/platform/incidents.ts'
import { changes } from '../lib/change.ts'
import { operators } from '../lib/policy.ts'

/** Incidents shown on the status page, for operators. */
const incidents: FastifyPluginCallbackTypebox = (app, _options, done) => {
  const change = changes(app)

  app.get('/incidents', {
    schema: schemas.listIncidents,
    config: { ...operators, slo: 'list' },
    handler: request => {
      const { limit, cursor, open } = request.query
      return listIncidents(app.db, open, { limit, cursor })
    }
  })

  app.get('/incidents/:id', {
    schema: schemas.getIncident,
    config: { ...operators, slo: 'detail' },
    handler: request => findIncident(app.db, request.params.id)
  })

  app.post('/incidents', {
    schema: schemas.openIncident,
    config: { ...operators, slo: 'write', audit: { type: 'admin', action: 'open', resource: 'incident' } },
    handler: (request, reply) =>
      change(request, reply, async tx => {
        const { components = [], message = null, ...rest } = request.body
        refuseUnknown(components)
        const { incident, changed } = await openIncident(tx, { ...rest, components, message })
        return { status: changed ? 201 : 200, body: incident, audit: changed ? entryOf(incident) : null }
      })
  })

  app.post('/incidents/:id/updates', {
    schema: schemas.updateIncident,
    config: { ...operators, slo: 'write', audit: { type: 'admin', action: 'update', resource: 'incident' } },
    handler: (request, reply) =>
      change(request, reply, async tx => replyTo(await updateIncident(tx, request.params.id, request.body.message)))
  })

  app.post('/incidents/:id/close', {
    schema: schemas.closeIncident,
    config: { ...operators, slo: 'write', audit: { type: 'admin', action: 'close', resource: 'incident' } },
    handler: (request, reply) =>
      change(request, reply, async tx =>
        replyTo(await closeIncident(tx, request.params.id, request.body?.message ?? null))
      )
  })

  function refuseUnknown(components: readonly string[]): void {
    if (!app.hasDecorator('status')) return
    const known = app.status.report().components.map(({ name }) => name)
    const unknown = components.find(name => !known.includes(name))
    if (unknown !== undefined)
      throw errors.validation('components', `unknown component "${unknown}"; the components are ${known.join(', ')}`)
  }

  done()
}

const replyTo = ({ incident, changed }: IncidentChange) => ({
  status: 200,
  body: incident,
  audit: changed ? entryOf(incident) : null
})

function entryOf({ id, title, severity, components }: IncidentChange['incident']) {
  return { resourceId: id, resourceName: title, details: { severity, components } }
}

export default incidents
