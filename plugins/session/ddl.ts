/** Creates the table of `store-postgres.ts` if it is missing. For a migration, or for `app.postgres.script`. */
export const sessionDdl = `
create table if not exists sessions (
  id uuid primary key default gen_random_uuid(),
  secret_hash bytea not null unique,
  user_id varchar(255) not null,
  username varchar(255) not null,
  is_operator boolean not null,
  method varchar(20) not null,
  ip varchar(50),
  user_agent varchar(512),
  last_seen_at timestamptz not null default now(),
  idle_until timestamptz not null,
  expires_at timestamptz not null,
  created_at timestamptz not null default now()
);
create index if not exists idx_sessions_user_id on sessions (user_id);
create index if not exists idx_sessions_expires_at on sessions (expires_at);
`
