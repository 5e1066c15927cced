CREATE TABLE "audit_checkpoints" (
	"seq" bigint PRIMARY KEY NOT NULL,
	"digest" "bytea" NOT NULL,
	"retained_from" timestamp with time zone,
	"key_id" varchar(64) NOT NULL,
	"signature" "bytea" NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
CREATE TABLE "audit_seals" (
	"seq" bigint PRIMARY KEY NOT NULL,
	"row_id" uuid NOT NULL,
	"row_created_at" timestamp with time zone NOT NULL,
	"salt" "bytea",
	"personal_digest" "bytea" NOT NULL,
	"digest" "bytea" NOT NULL
);
--> statement-breakpoint
CREATE TABLE "audit_unsealed" (
	"position" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "audit_unsealed_position_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"row_id" uuid NOT NULL,
	"row_created_at" timestamp with time zone NOT NULL
);
--> statement-breakpoint
CREATE INDEX "idx_audit_seals_row" ON "audit_seals" USING btree ("row_created_at","row_id");
--> statement-breakpoint
-- The words of a row, for the search for text: every run of letters and digits, in lower case.
CREATE FUNCTION "audit_words"(actor text, action text, resource text, name text, details jsonb) RETURNS tsvector
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
	SELECT array_to_tsvector(array_remove(regexp_split_to_array(
		lower(concat_ws(' ', actor, action, resource, name, details::text)), '[^[:alnum:]]+'), ''));
$$;
--> statement-breakpoint
-- The table again, in monthly partitions; what is in the old one is moved, with its triggers gone and new ones below.
ALTER TABLE "audit_logs" RENAME TO "audit_logs_flat";
--> statement-breakpoint
ALTER TABLE "audit_logs_flat" DROP CONSTRAINT "audit_logs_event_type_known", DROP CONSTRAINT "audit_logs_outcome_known";
--> statement-breakpoint
DROP INDEX "idx_audit_logs_user_id", "idx_audit_logs_team_id", "idx_audit_logs_app_id", "idx_audit_logs_event_type", "idx_audit_logs_created_at";
--> statement-breakpoint
CREATE TABLE "audit_logs" (
	"id" uuid DEFAULT gen_random_uuid() NOT NULL,
	"event_type" varchar(50) NOT NULL,
	"action" varchar(50) NOT NULL,
	"outcome" varchar(20) DEFAULT 'success' NOT NULL,
	"user_id" uuid,
	"actor" varchar(255),
	"team_id" uuid,
	"app_id" uuid,
	"resource" varchar(100) NOT NULL,
	"resource_id" varchar(255),
	"resource_name" varchar(255),
	"details" jsonb,
	"ip" varchar(50),
	"user_agent" text,
	"request_id" varchar(64),
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "audit_logs_id_created_at_pk" PRIMARY KEY("id","created_at"),
	CONSTRAINT "audit_logs_event_type_known" CHECK ("audit_logs"."event_type" in ('auth', 'team', 'app', 'deployment', 'billing', 'admin')),
	CONSTRAINT "audit_logs_outcome_known" CHECK ("audit_logs"."outcome" in ('success', 'failure', 'denied'))
) PARTITION BY RANGE ("created_at");
--> statement-breakpoint
CREATE INDEX "idx_audit_logs_user_id" ON "audit_logs" USING btree ("user_id","created_at" DESC NULLS FIRST,"id" DESC NULLS FIRST);
--> statement-breakpoint
CREATE INDEX "idx_audit_logs_team_id" ON "audit_logs" USING btree ("team_id","created_at" DESC NULLS FIRST,"id" DESC NULLS FIRST);
--> statement-breakpoint
CREATE INDEX "idx_audit_logs_app_id" ON "audit_logs" USING btree ("app_id","created_at" DESC NULLS FIRST,"id" DESC NULLS FIRST);
--> statement-breakpoint
CREATE INDEX "idx_audit_logs_event_type" ON "audit_logs" USING btree ("event_type","created_at" DESC NULLS FIRST,"id" DESC NULLS FIRST);
--> statement-breakpoint
CREATE INDEX "idx_audit_logs_created_at" ON "audit_logs" USING btree ("created_at" DESC NULLS FIRST,"id" DESC NULLS FIRST);
--> statement-breakpoint
CREATE INDEX "idx_audit_logs_actor" ON "audit_logs" USING btree ("actor","created_at" DESC NULLS FIRST,"id" DESC NULLS FIRST);
--> statement-breakpoint
CREATE INDEX "idx_audit_logs_action" ON "audit_logs" USING btree ("action","created_at" DESC NULLS FIRST,"id" DESC NULLS FIRST);
--> statement-breakpoint
CREATE INDEX "idx_audit_logs_resource_id" ON "audit_logs" USING btree ("resource_id","created_at" DESC NULLS FIRST,"id" DESC NULLS FIRST);
--> statement-breakpoint
CREATE INDEX "idx_audit_logs_ip" ON "audit_logs" USING btree ("ip","created_at" DESC NULLS FIRST,"id" DESC NULLS FIRST);
--> statement-breakpoint
CREATE INDEX "idx_audit_logs_words" ON "audit_logs" USING gin (audit_words("actor", "action", "resource", "resource_name", "details"));
--> statement-breakpoint
-- Rows of months that have no partition, so that a missing one stops nobody's work.
CREATE TABLE "audit_logs_other" PARTITION OF "audit_logs" DEFAULT;
--> statement-breakpoint
-- Refuses row by row, since a trigger of a statement would not fire for a statement on a partition.
CREATE FUNCTION "refuse_audit_row_change"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF current_setting('rhone.audit_purge', true) = 'on' THEN
		RETURN COALESCE(NEW, OLD);
	END IF;
	RAISE EXCEPTION 'audit_logs is append-only: % refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END
$$;
--> statement-breakpoint
CREATE TRIGGER "append_only" BEFORE UPDATE OR DELETE ON "audit_logs" FOR EACH ROW EXECUTE FUNCTION "refuse_audit_row_change"();
--> statement-breakpoint
CREATE TRIGGER "never_emptied" BEFORE TRUNCATE ON "audit_logs" FOR EACH STATEMENT EXECUTE FUNCTION "refuse_audit_change"();
--> statement-breakpoint
CREATE TRIGGER "never_emptied" BEFORE TRUNCATE ON "audit_logs_other" FOR EACH STATEMENT EXECUTE FUNCTION "refuse_audit_change"();
--> statement-breakpoint
CREATE FUNCTION "note_unsealed_audit"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO audit_unsealed (row_id, row_created_at) SELECT id, created_at FROM written ORDER BY created_at, id;
	RETURN NULL;
END
$$;
--> statement-breakpoint
CREATE TRIGGER "to_be_sealed" AFTER INSERT ON "audit_logs" REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION "note_unsealed_audit"();
--> statement-breakpoint
-- Makes the partitions of some UTC months that are not there, and moves into each what waits for it among the others.
-- Returns how many it has made.
CREATE FUNCTION "ensure_audit_partitions"(first_day date, months integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
	starts date;
	lower_bound timestamptz;
	upper_bound timestamptz;
	partition text;
	made integer := 0;
BEGIN
	PERFORM pg_advisory_xact_lock(hashtext('rhone.audit-partitions'));
	FOR n IN 0 .. months - 1 LOOP
		starts := (date_trunc('month', first_day::timestamp) + make_interval(months => n))::date;
		lower_bound := starts::timestamp AT TIME ZONE 'UTC';
		upper_bound := (starts::timestamp + interval '1 month') AT TIME ZONE 'UTC';
		partition := 'audit_logs_' || to_char(starts, 'YYYY_MM');
		CONTINUE WHEN to_regclass(partition) IS NOT NULL;
		EXECUTE format('CREATE TABLE %I (LIKE audit_logs INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', partition);
		PERFORM set_config('rhone.audit_purge', 'on', true);
		EXECUTE format('WITH moved AS (DELETE FROM audit_logs_other WHERE created_at >= %L AND created_at < %L RETURNING *)
			INSERT INTO %I SELECT * FROM moved', lower_bound, upper_bound, partition);
		PERFORM set_config('rhone.audit_purge', 'off', true);
		EXECUTE format('ALTER TABLE audit_logs ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
			partition, lower_bound, upper_bound);
		EXECUTE format('CREATE TRIGGER never_emptied BEFORE TRUNCATE ON %I FOR EACH STATEMENT
			EXECUTE FUNCTION refuse_audit_change()', partition);
		made := made + 1;
	END LOOP;
	RETURN made;
END
$$;
--> statement-breakpoint
SELECT "ensure_audit_partitions"(
	(SELECT COALESCE(min("created_at"), now()) AT TIME ZONE 'UTC' FROM "audit_logs_flat")::date,
	(SELECT 4 + COALESCE(EXTRACT(year FROM age(date_trunc('month', now()), date_trunc('month', min("created_at")))) * 12
		+ EXTRACT(month FROM age(date_trunc('month', now()), date_trunc('month', min("created_at")))), 0)
		FROM "audit_logs_flat")::integer
);
--> statement-breakpoint
INSERT INTO "audit_logs" SELECT * FROM "audit_logs_flat" ORDER BY "created_at", "id";
--> statement-breakpoint
-- The old row trigger guards a table that is empty of meaning now.
DROP TABLE "audit_logs_flat";
