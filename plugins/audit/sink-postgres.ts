import { sql } from 'drizzle-orm'
import type { Db } from '../lib/own-types.ts'
import type { AuditRow } from './row.ts'
import type { AuditSink } from './sink.ts'

/** Writes to the table of `auditDdl`. `host` is read at each write, so the app may get its database later. */
export function postgresAuditSink(host: { readonly db: Db }): AuditSink {
  return {
    write: (tx, row) => insert(tx, [row]),
    writeMany: rows => insert(host.db, rows)
  }
}

/** A row with an id is written once, however often it is retried. */
async function insert(db: Db, rows: readonly AuditRow[]): Promise<void> {
  await db.execute(sql`
    insert into audit_logs (id, event_type, action, outcome, user_id, actor, team_id, app_id, resource, resource_id,
      resource_name, details, ip, user_agent, request_id, created_at)
    select coalesce(id, gen_random_uuid()), "eventType", action, outcome, "userId", actor, "teamId", "appId", resource,
      "resourceId", "resourceName", details, ip, "userAgent", "requestId", coalesce("createdAt", now())
    from json_to_recordset(${JSON.stringify(rows)}::text::json) as given (
      id uuid, "eventType" text, action text, outcome text, "userId" text, actor text, "teamId" text, "appId" text,
      resource text, "resourceId" text, "resourceName" text, details jsonb, ip text, "userAgent" text, "requestId" text,
      "createdAt" timestamptz
    )
    on conflict do nothing`)
}
