import { LRUCache } from 'lru-cache'
import type { Principal } from '../lib/principals.ts'
import type { NewSession, SessionStore } from './port.ts'

/** Sessions of one process, which end with it. */
export function memorySessionStore(max = 10_000): SessionStore {
  const sessions = new LRUCache<string, NewSession & { id: string; signedInAt: Date }>({ max })
  const keyOf = (hash: Buffer) => hash.toString('base64')

  return {
    async create(_tx, session) {
      const id = keyOf(session.secretHash).slice(0, 16)
      sessions.set(keyOf(session.secretHash), { ...session, id, signedInAt: new Date() })
      return id
    },

    async find(hash, idleUntil): Promise<Principal | null> {
      const session = sessions.get(keyOf(hash))
      const now = new Date()
      if (session === undefined || session.idleUntil <= now || session.expiresAt <= now) return null
      session.idleUntil = idleUntil
      const { user, id, signedInAt, expiresAt } = session
      const { id: userId, username, isOperator } = user
      return {
        userId,
        username,
        isOperator,
        via: 'session',
        credentialId: id,
        scopes: ['admin'],
        signedInAt,
        expiresAt
      }
    },

    async end(_tx, hash) {
      const session = sessions.get(keyOf(hash))
      sessions.delete(keyOf(hash))
      return session?.id
    }
  }
}
