/** Creates the plugin's table if it does not exist. For a migration, or for `app.postgres.script`. */
export const idempotencyDdl = `
create table if not exists idempotency_keys (
  principal varchar(64) not null,
  key varchar(255) not null,
  fingerprint bytea not null,
  status smallint not null,
  headers jsonb not null,
  body jsonb,
  subject varchar(64),
  created_at timestamptz not null default now(),
  constraint idempotency_keys_principal_key_pk primary key (principal, key)
);
create index if not exists idx_idempotency_keys_created_at on idempotency_keys (created_at);
`
