CREATE TABLE "app_logs" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "app_logs_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"app_id" uuid NOT NULL,
	"deployment_id" uuid,
	"at" timestamp with time zone NOT NULL,
	"level" varchar(10) NOT NULL,
	"source" varchar(10) NOT NULL,
	"region" varchar(10),
	"instance" varchar(64),
	"message" text NOT NULL,
	CONSTRAINT "app_logs_level_known" CHECK ("app_logs"."level" in ('debug', 'info', 'warn', 'error')),
	CONSTRAINT "app_logs_source_known" CHECK ("app_logs"."source" in ('app', 'system', 'build'))
);
--> statement-breakpoint
CREATE TABLE "app_tombstones" (
	"app_id" uuid PRIMARY KEY NOT NULL,
	"slug" varchar(63) NOT NULL,
	"fly_app_id" varchar(255),
	"created_at" timestamp with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
CREATE TABLE "build_log_chunks" (
	"deployment_id" uuid NOT NULL,
	"seq" integer NOT NULL,
	"phase" varchar(50) NOT NULL,
	"text" text NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "build_log_chunks_deployment_id_seq_pk" PRIMARY KEY("deployment_id","seq")
);
--> statement-breakpoint
CREATE TABLE "deployment_secrets" (
	"deployment_id" uuid PRIMARY KEY NOT NULL,
	"value_encrypted" "bytea" NOT NULL,
	"nonce" "bytea" NOT NULL,
	"key_id" varchar(64) NOT NULL
);
--> statement-breakpoint
CREATE TABLE "github_installations" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"team_id" uuid NOT NULL,
	"installation_id" bigint NOT NULL,
	"account_type" varchar(50) NOT NULL,
	"account_login" varchar(255) NOT NULL,
	"account_id" bigint NOT NULL,
	"suspended_at" timestamp with time zone,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "github_installations_installation_id_unique" UNIQUE("installation_id")
);
--> statement-breakpoint
CREATE TABLE "secret_ledger" (
	"name" varchar(64) NOT NULL,
	"fingerprint" varchar(64) NOT NULL,
	"first_seen_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "secret_ledger_name_fingerprint_pk" PRIMARY KEY("name","fingerprint")
);
--> statement-breakpoint
CREATE TABLE "webhook_deliveries" (
	"source" varchar(20) NOT NULL,
	"delivery_id" varchar(100) NOT NULL,
	"event" varchar(100) NOT NULL,
	"payload" "bytea" NOT NULL,
	"received_at" timestamp with time zone DEFAULT now() NOT NULL,
	"processed_at" timestamp with time zone,
	"outcome" varchar(20),
	"error" text,
	CONSTRAINT "webhook_deliveries_source_delivery_id_pk" PRIMARY KEY("source","delivery_id")
);
--> statement-breakpoint
DROP INDEX "idx_deployments_app_id_created_at";--> statement-breakpoint
ALTER TABLE "apps" ADD COLUMN "github_repo_id" bigint;--> statement-breakpoint
ALTER TABLE "apps" ADD COLUMN "github_installation_id" bigint;--> statement-breakpoint
ALTER TABLE "apps" ADD COLUMN "git_url" varchar(500);--> statement-breakpoint
ALTER TABLE "apps" ADD COLUMN "fly_app_id" varchar(255);--> statement-breakpoint
ALTER TABLE "apps" ADD COLUMN "last_push" jsonb;--> statement-breakpoint
ALTER TABLE "deployments" ADD COLUMN "image" varchar(500);--> statement-breakpoint
ALTER TABLE "deployments" ADD COLUMN "rollback_of" uuid;--> statement-breakpoint
ALTER TABLE "deployments" ADD COLUMN "env_versions" jsonb;--> statement-breakpoint
ALTER TABLE "deployments" ADD COLUMN "config" jsonb;--> statement-breakpoint
ALTER TABLE "deployments" ADD COLUMN "error_code" varchar(50);--> statement-breakpoint
ALTER TABLE "deployments" ADD COLUMN "error_message" text;--> statement-breakpoint
ALTER TABLE "deployments" ADD COLUMN "claim" uuid;--> statement-breakpoint
ALTER TABLE "deployments" ADD COLUMN "build_started_at" timestamp with time zone;--> statement-breakpoint
ALTER TABLE "deployments" ADD COLUMN "build_finished_at" timestamp with time zone;--> statement-breakpoint
ALTER TABLE "deployments" ADD COLUMN "deploy_started_at" timestamp with time zone;--> statement-breakpoint
ALTER TABLE "deployments" ADD COLUMN "deploy_finished_at" timestamp with time zone;--> statement-breakpoint
ALTER TABLE "env_vars" ADD COLUMN "version" integer DEFAULT 1 NOT NULL;--> statement-breakpoint
ALTER TABLE "env_vars" ADD COLUMN "build_time" boolean DEFAULT false NOT NULL;--> statement-breakpoint
ALTER TABLE "app_logs" ADD CONSTRAINT "app_logs_app_id_apps_id_fk" FOREIGN KEY ("app_id") REFERENCES "public"."apps"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "build_log_chunks" ADD CONSTRAINT "build_log_chunks_deployment_id_deployments_id_fk" FOREIGN KEY ("deployment_id") REFERENCES "public"."deployments"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "deployment_secrets" ADD CONSTRAINT "deployment_secrets_deployment_id_deployments_id_fk" FOREIGN KEY ("deployment_id") REFERENCES "public"."deployments"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "github_installations" ADD CONSTRAINT "github_installations_team_id_teams_id_fk" FOREIGN KEY ("team_id") REFERENCES "public"."teams"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "idx_app_logs_app_id_at" ON "app_logs" USING btree ("app_id","at" DESC NULLS LAST,"id" DESC NULLS LAST);--> statement-breakpoint
CREATE INDEX "idx_app_logs_app_id_id" ON "app_logs" USING btree ("app_id","id");--> statement-breakpoint
CREATE INDEX "idx_app_logs_at" ON "app_logs" USING btree ("at");--> statement-breakpoint
CREATE INDEX "idx_build_log_chunks_created_at" ON "build_log_chunks" USING btree ("created_at");--> statement-breakpoint
CREATE INDEX "idx_github_installations_team_id" ON "github_installations" USING btree ("team_id");--> statement-breakpoint
CREATE INDEX "idx_github_installations_account_login" ON "github_installations" USING btree ("account_login");--> statement-breakpoint
CREATE INDEX "idx_webhook_deliveries_received_at" ON "webhook_deliveries" USING btree ("received_at");--> statement-breakpoint
ALTER TABLE "apps" ADD CONSTRAINT "apps_github_installation_id_fk" FOREIGN KEY ("github_installation_id") REFERENCES "public"."github_installations"("installation_id") ON DELETE set null ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "idx_apps_github_installation_id" ON "apps" USING btree ("github_installation_id","github_repo_id");--> statement-breakpoint
CREATE UNIQUE INDEX "deployments_live_unique" ON "deployments" USING btree ("app_id") WHERE "deployments"."status" = 'live';--> statement-breakpoint
CREATE INDEX "idx_deployments_app_id_created_at" ON "deployments" USING btree ("app_id","created_at" DESC NULLS FIRST,"id" DESC NULLS FIRST);--> statement-breakpoint
ALTER TABLE "deployments" ADD CONSTRAINT "deployments_error_code_known" CHECK ("deployments"."error_code" in ('BUILD_FAILED', 'DEPLOY_FAILED'));--> statement-breakpoint
CREATE TRIGGER "touch_updated_at" BEFORE UPDATE ON "github_installations" FOR EACH ROW EXECUTE FUNCTION "update_updated_at_column"();
--> statement-breakpoint
-- An app can go in many ways: by itself, with its team, with its owner. Whichever it is, what runs of it must be taken
-- down; an app that was never deployed runs nowhere.
CREATE FUNCTION "bury_app"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO app_tombstones (app_id, slug, fly_app_id)
		SELECT OLD.id, OLD.slug, OLD.fly_app_id
		WHERE EXISTS (SELECT FROM deployments WHERE app_id = OLD.id)
		ON CONFLICT DO NOTHING;
	RETURN OLD;
END
$$;
--> statement-breakpoint
CREATE TRIGGER "bury" BEFORE DELETE ON "apps" FOR EACH ROW EXECUTE FUNCTION "bury_app"();
--> statement-breakpoint
-- Whoever works on a deployment, or watches it, hears of every change, whichever statement made it.
CREATE FUNCTION "tell_deployment_status"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF TG_OP = 'DELETE' THEN
		PERFORM pg_notify('rhone_deployments', json_build_object('id', OLD.id, 'appId', OLD.app_id, 'status', 'deleted')::text);
	ELSE
		PERFORM pg_notify('rhone_deployments', json_build_object('id', NEW.id, 'appId', NEW.app_id, 'status', NEW.status)::text);
	END IF;
	RETURN NULL;
END
$$;
--> statement-breakpoint
CREATE TRIGGER "tell_status" AFTER INSERT OR DELETE OR UPDATE OF status ON "deployments" FOR EACH ROW EXECUTE FUNCTION "tell_deployment_status"();
