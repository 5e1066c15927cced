/** What a Redis URL names: one server, a cluster by some of its nodes, or a master known to Sentinels. */
export interface RedisTarget {
  kind: 'server' | 'cluster' | 'sentinel'
  nodes: { host: string; port: number }[]
  tls: boolean
  username?: string
  password?: string
  /** For a single server or a Sentinel's master. */
  db: number
  /** The master's name in the Sentinels. */
  master: string
}

/**
 * | URL | is |
 * |---|---|
 * | `redis://user:password@host:6379/0` | one server; the user is an ACL user, and may be left out |
 * | `redis://host1:6379,host2:6379` | a cluster, by some of its nodes |
 * | `redis+cluster://host:6379` | a cluster, by one of them |
 * | `redis+sentinel://host1:26379,host2:26379/master/0` | a master, by its Sentinels |
 *
 * `rediss` instead of `redis` uses TLS for each form.
 */
export function redisTarget(url: string): RedisTarget {
  const { scheme, secure, mode, credentials, hosts, path = '' } = url.match(FORM)?.groups ?? {}
  if (scheme === undefined || hosts === undefined)
    throw new Error('the Redis URL must have the form redis://user:password@host:port/database')

  const kind = mode ?? (hosts.includes(',') ? 'cluster' : 'server')
  const segments = path.split('/').filter(Boolean)
  const master = kind === 'sentinel' ? segments.shift() : ''
  if (master === undefined) throw new Error('the Redis URL names no master: redis+sentinel://host:26379/master')
  const db = Number(segments.shift() ?? 0)
  if (!Number.isInteger(db) || segments.length > 0) throw new Error('the Redis URL does not end in a database number')
  if (kind === 'cluster' && db !== 0) throw new Error('the Redis URL names a database, but a cluster has only 0')

  return {
    kind: kind as RedisTarget['kind'],
    nodes: hosts.split(',').map(node => parseNode(node, kind === 'sentinel' ? 26_379 : 6_379)),
    tls: secure !== undefined,
    ...parseCredentials(credentials),
    db,
    master
  }
}

const FORM =
  /^(?<scheme>redis(?<secure>s)?)(?:\+(?<mode>cluster|sentinel))?:\/\/(?:(?<credentials>[^@]*)@)?(?<hosts>[^/?#@]+)\/?(?<path>[^?#]*)$/

function parseNode(text: string, defaultPort: number): { host: string; port: number } {
  const [, v6, name, port] = text.match(/^(?:\[(.+)\]|([^:[\]]+))(?::(\d+))?$/) ?? []
  const host = v6 ?? name
  if (host === undefined) throw new Error(`the Redis URL has "${text}" in place of a host`)
  return { host, port: port === undefined ? defaultPort : Number(port) }
}

function parseCredentials(text = ''): { username?: string; password?: string } {
  const [username = '', password = ''] = text.split(':').map(decodeURIComponent)
  return { ...(username && { username }), ...(password && { password }) }
}
