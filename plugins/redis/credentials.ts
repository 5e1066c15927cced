import type { Cluster, Redis } from 'ioredis'
import { type RedisTarget, redisTarget } from './target.ts'

interface Limits {
  readonly connectTimeout: number
  readonly commandTimeout: number
}

/** Replaces the user and password of a client in use. Connections stay open: AUTH changes who they belong to. */
export function credentialsOf(
  driver: Pick<typeof import('ioredis'), 'Redis'>,
  client: Redis | Cluster,
  first: RedisTarget,
  limits: Limits
) {
  return {
    async check(url: string): Promise<void> {
      const next = redisTarget(url)
      if (placeOf(next) !== placeOf(first)) throw new Error('names another Redis, which requires a restart')
      // Sentinels know the address of the server only now.
      const [node] = first.kind === 'server' ? first.nodes : [undefined]
      if (node === undefined) return
      const { commandTimeout, connectTimeout } = limits
      const probe = new driver.Redis({
        ...node,
        ...secretsOf(next),
        ...(first.tls && { tls: { servername: node.host } }),
        commandTimeout,
        connectTimeout,
        lazyConnect: true,
        retryStrategy: () => null
      })
      probe.on('error', () => {})
      try {
        await probe.connect()
        await probe.ping()
      } finally {
        probe.disconnect()
      }
    },

    async use(url: string): Promise<void> {
      const secrets = secretsOf(redisTarget(url))
      const nodes = 'nodes' in client ? client.nodes() : [client]
      const settings = 'nodes' in client ? [client.options.redisOptions ?? {}] : []
      for (const options of [...settings, ...nodes.map(node => node.options)]) Object.assign(options, secrets)
      // A node that is down authenticates when it comes back.
      await Promise.allSettled(
        nodes
          .filter(node => node.status === 'ready')
          .map(node => node.call('auth', ...(secrets.username ? [secrets.username] : []), secrets.password ?? ''))
      )
    }
  }
}

function secretsOf({ username, password }: RedisTarget) {
  return { username: username ?? undefined, password: password ?? undefined }
}

function placeOf({ kind, nodes, tls, db, master }: RedisTarget): string {
  return JSON.stringify([kind, nodes, tls, db, master])
}
