import { randomBytes } from 'node:crypto'
import { appView } from './views.ts'
import { FlyRefusal, type World } from './world.ts'

type GraphqlOperation = 'graphql.app' | 'graphql.allocateIpAddress' | 'graphql.releaseIpAddress'

/** Identifies the GraphQL document among the supported ones. */
export function operationOf(query: string): GraphqlOperation | null {
  const [, field] = /\{\s*(app|allocateIpAddress|releaseIpAddress)\s*\(/.exec(query) ?? []
  return field === undefined ? null : (`graphql.${field}` as GraphqlOperation)
}

/** Answers with all fields of the documents; errors have status 200, as in GraphQL. */
export function graphql(world: World, operation: GraphqlOperation, variables: Record<string, unknown>): object {
  try {
    if (operation === 'graphql.app') return { data: { app: detailsOf(world, nameIn(variables)) } }
    const input = variables.input as { appId: string; type: string; region?: string; ip?: string }
    return { data: operation === 'graphql.allocateIpAddress' ? allocate(world, input) : release(world, input) }
  } catch (error) {
    if (!(error instanceof FlyRefusal)) throw error
    const extensions = { code: error.status === 404 ? 'NOT_FOUND' : 'UNPROCESSABLE' }
    return { data: null, errors: [{ message: error.message, path: [], extensions }] }
  }
}

/** Clients choose the names of their variables. */
function nameIn({ name, appName }: Record<string, unknown>): string {
  return String(name ?? appName)
}

function detailsOf(world: World, name: string): object {
  const app = world.app(name)
  const shared = app.ips.find(({ type }) => type === 'shared_v4')
  return {
    ...appView(app),
    ipAddresses: { nodes: app.ips.filter(({ type }) => type !== 'shared_v4') },
    sharedIpAddress: shared?.address ?? null
  }
}

function allocate(world: World, { appId, type, region = 'global' }: { appId: string; type: string; region?: string }) {
  const app = world.app(appId)
  const known = type === 'shared_v4' ? app.ips.find(ip => ip.type === type) : undefined
  const address = type.endsWith('v4') ? '66.241.125.7' : `2a09:8280:1::${randomBytes(2).toString('hex')}`
  const createdAt = new Date().toISOString()
  const ip = known ?? { id: `ip_${randomBytes(8).toString('hex')}`, type, address, region, createdAt }
  if (known === undefined) app.ips.push(ip)
  const isShared = type === 'shared_v4'
  return {
    allocateIpAddress: { app: { sharedIpAddress: isShared ? ip.address : null }, ipAddress: isShared ? null : ip }
  }
}

function release(world: World, { appId, ip }: { appId: string; ip?: string }): object {
  const app = world.app(appId)
  const index = app.ips.findIndex(({ address }) => address === ip)
  if (index === -1) throw new FlyRefusal(404, 'Could not find IP address')
  app.ips.splice(index, 1)
  return { releaseIpAddress: { clientMutationId: null, app: { name: app.name } } }
}
