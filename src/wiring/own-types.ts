import type { AuditType, Db, SignInMethod } from '../../drizzle/schema.ts'

/** The types that this server's plugins are parameterised with. */
declare module 'fastify' {
  interface RhoneTypes {
    db: Db
    auditType: AuditType
    signInMethod: SignInMethod
  }
}
