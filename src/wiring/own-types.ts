import type { AuditType, Db, SignInMethod } from '../../drizzle/schema.ts'

/** What the plugins are typed by on this server. */
declare module 'fastify' {
  interface RhoneTypes {
    db: Db
    auditType: AuditType
    signInMethod: SignInMethod
  }
}
