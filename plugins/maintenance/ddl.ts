/** Creates the table of `store-postgres.ts` if it is missing. For a migration, or for `app.postgres.script`. */
export const maintenanceDdl = `
create table if not exists maintenance_state (
  id smallint primary key default 1 constraint maintenance_state_single_row check (id = 1),
  enabled boolean not null default false,
  message text,
  retry_after integer not null default 300,
  until timestamptz,
  since timestamptz,
  changed_by varchar(255),
  updated_at timestamptz not null default now()
);
`
