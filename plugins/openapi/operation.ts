import type { FastifySchema, RouteOptions } from 'fastify'

/** The key that holds an operation's failure statuses until the document is complete. */
export const FAILURES = 'x-failures'

/** Names of the security schemes. */
export type SecurityScheme = 'bearer' | 'session' | 'metrics'

const CALLERS: Readonly<Record<string, string>> = {
  public: 'Anyone may call this.',
  authenticated: 'Callers must be signed in, or send a token.',
  member: 'Callers must be members of the team.',
  admin: 'Callers must be admins of the team.',
  owner: 'Callers must be owners of the team.',
  operator: 'Callers must be operators of this server.',
  metrics: 'Callers need the metrics token.'
}

/**
 * A route's schema, plus a description of its config: who may call it and which limit it counts against.
 *
 * @param hasSessions whether browsers may call with a session cookie
 */
export function operationOf(
  schema: FastifySchema | undefined,
  route: RouteOptions,
  hasSessions: boolean
): FastifySchema {
  const { access = 'authenticated', scope, rateClass = 'general' } = route.config ?? {}
  const facts = [
    schema?.description,
    CALLERS[access],
    scope !== undefined && access !== 'public' && `The token needs the scope \`${scope}\`.`,
    rateClass !== false && `Rate class \`${rateClass}\`.`
  ]
  const operation = {
    ...schema,
    operationId: schema?.operationId ?? operationIdOf(route),
    tags: schema?.tags ?? ['other'],
    description: facts.filter(Boolean).join(' '),
    security: schemesFor(access, hasSessions).map(scheme => ({ [scheme]: [] })),
    [FAILURES]: failuresOf(schema ?? {}, route)
  }
  return operation
}

function schemesFor(access: string, hasSessions: boolean): SecurityScheme[] {
  if (access === 'public') return []
  if (access === 'metrics') return ['metrics']
  return hasSessions ? ['bearer', 'session'] : ['bearer']
}

/** The error statuses that the parts of a route can cause, in addition to those in its schema. */
function failuresOf(schema: FastifySchema, { method, config = {} }: RouteOptions): number[] {
  const { params, querystring, headers, body } = schema
  const changes = !['GET', 'HEAD'].includes(String(method))
  const isGuarded = config.access !== 'public'
  const found: [status: number, when: unknown][] = [
    [400, params ?? querystring ?? headers ?? body],
    [401, isGuarded],
    [403, isGuarded],
    [404, params],
    [409, changes && isGuarded],
    [412, names(headers, 'if-match')],
    [413, body],
    [415, body],
    [422, names(headers, 'idempotency-key')],
    [429, config.rateClass !== false],
    [500, true],
    [503, true]
  ]
  const named = Object.keys(schema.response ?? {}).filter(status => /^[45]\d\d$/.test(status))
  const statuses = found.filter(([, when]) => when).map(([status]) => status)
  return [...new Set([...statuses, ...named.map(Number)])].sort((one, other) => one - other)
}

function names(headers: unknown, header: string): boolean {
  return header in ((headers as { properties?: object } | undefined)?.properties ?? {})
}

/** `GET /apps/:app` becomes `getAppsApp`. */
function operationIdOf({ method, url }: RouteOptions): string {
  const words = url.split(/[^A-Za-z0-9]+/).filter(Boolean)
  return String(method).toLowerCase() + words.map(word => word.charAt(0).toUpperCase() + word.slice(1)).join('')
}
