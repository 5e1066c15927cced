/**
 * Creates the table of `sink-postgres.ts` if it is missing. For a migration, or for `app.postgres.script`. Grant the
 * app's role only `insert` and `select`, so that an intruder in the app cannot rewrite the log.
 */
export const auditDdl = `
create table if not exists audit_logs (
  id uuid primary key default gen_random_uuid(),
  event_type varchar(50) not null,
  action varchar(50) not null,
  outcome varchar(20) not null,
  user_id varchar(255),
  actor varchar(255),
  team_id varchar(255),
  app_id varchar(255),
  resource varchar(100) not null,
  resource_id varchar(255),
  resource_name varchar(255),
  details jsonb,
  ip varchar(50),
  user_agent text,
  request_id varchar(64),
  created_at timestamptz not null default now()
);
create index if not exists idx_audit_logs_created_at on audit_logs (created_at desc, id desc);
create index if not exists idx_audit_logs_user_id on audit_logs (user_id, created_at desc);
create index if not exists idx_audit_logs_resource_id on audit_logs (resource_id, created_at desc);
`
