import { randomBytes } from 'node:crypto'
import type { Redis } from 'ioredis'
import { redisTarget } from '../../../plugins/redis/target.ts'
import { CommandError } from '../command.ts'
import { withCredentials } from './classes.ts'
import type { Rotated, Rotating } from './port.ts'

/** Gives the user a second password, and removes the first one when all servers have the second. */
export async function rotateRedis(rotating: Rotating, url: string, finish: boolean): Promise<Rotated> {
  const target = redisTarget(url)
  const user = target.username ?? 'default'
  const password = randomBytes(24).toString('hex')
  return onEachNode(url, async nodes => {
    const tell = async (...change: string[]) => {
      for (const node of nodes) await node.call('ACL', 'SETUSER', user, ...change)
    }
    // Only one password is left: the one that has just logged us in.
    if (finish) {
      await tell('resetpass', `>${target.password ?? ''}`)
      return { class: 'redis', variable: 'REDIS_URL', held: 0, running: 0 }
    }
    await tell(`>${password}`)
    const rotated = await rotating.bringIn(withCredentials(url, target.username ?? '', password))
    if (rotated.set === undefined && target.password !== undefined) await tell(`<${target.password}`)
    await persist(nodes, rotating.note)
    return rotated
  })
}

async function persist(nodes: readonly Redis[], note: (text: string) => void): Promise<void> {
  for (const node of nodes)
    await node
      .call('ACL', 'SAVE')
      .catch(() =>
        node
          .call('CONFIG', 'REWRITE')
          .catch(() => note('Redis holds the new password in memory only: write it to its configuration file'))
      )
}

async function onEachNode<T>(url: string, use: (nodes: readonly Redis[]) => Promise<T>): Promise<T> {
  const { Redis } = await import('ioredis')
  const { kind, nodes, tls, username, password } = redisTarget(url)
  if (kind === 'sentinel')
    throw new CommandError('REDIS_URL: with Sentinel, change the password on each server by hand, then in the source')
  const secrets = { ...(username !== undefined && { username }), ...(password !== undefined && { password }) }
  const clients = nodes.map(
    node => new Redis({ ...node, ...secrets, ...(tls && { tls: {} }), lazyConnect: true, retryStrategy: () => null })
  )
  try {
    for (const client of clients) {
      client.on('error', () => {})
      await client.connect()
    }
    return await use(clients)
  } finally {
    for (const client of clients) client.disconnect()
  }
}
