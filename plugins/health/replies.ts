import { Type } from '@sinclair/typebox'

const SERVICE_STATES = ['healthy', 'unhealthy', 'not_configured'] as const
export type ServiceState = (typeof SERVICE_STATES)[number]

export const READINESS_REASONS = [
  'starting',
  'database',
  'database_readonly',
  'database_full',
  'keys',
  'pressure',
  'draining'
] as const
export type ReadinessReason = (typeof READINESS_REASONS)[number]

/** The overall state. */
const HEALTH_STATES = ['ok', 'degraded', 'unhealthy'] as const
export type HealthState = (typeof HEALTH_STATES)[number]

const oneOf = <Value extends string>(values: readonly Value[], description: string) =>
  Type.Unsafe<Value>({ type: 'string', enum: values, description })

export const Alive = Type.Object({ status: Type.Literal('ok', { description: 'Always ok.' }) }, { title: 'Alive' })
export const Ready = Type.Object(
  {
    status: Type.Literal('ready', { description: 'The instance is ready.' }),
    role: Type.Optional(
      oneOf(['primary', 'replica'], 'Which copy of the database is nearest, if there are several; absent otherwise.')
    )
  },
  { title: 'Ready' }
)
export const NotReady = Type.Object({
  status: Type.Literal('not_ready'),
  reasons: Type.Array(oneOf(READINESS_REASONS, 'Why the instance is not ready.'))
})
export const Detailed = Type.Object(
  {
    status: oneOf(HEALTH_STATES, 'The overall state.'),
    timestamp: Type.Optional(Type.String({ format: 'date-time', description: 'When the services were checked.' })),
    version: Type.Optional(Type.String({ description: 'The running version.', examples: ['1.0.0'] })),
    services: Type.Optional(
      Type.Record(Type.String(), oneOf(SERVICE_STATES, 'The state of the service.'), {
        description: 'The services that the server depends on.'
      })
    ),
    instance: Type.Optional(
      Type.Record(Type.String(), Type.Union([Type.String(), Type.Number(), Type.Boolean()]), {
        description: 'Facts about the instance that answered.'
      })
    )
  },
  { title: 'Health' }
)
