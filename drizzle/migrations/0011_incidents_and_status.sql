CREATE TABLE "incident_updates" (
	"position" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "incident_updates_position_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"incident_id" uuid NOT NULL,
	"at" timestamp with time zone DEFAULT now() NOT NULL,
	"message" text NOT NULL
);
--> statement-breakpoint
CREATE TABLE "incidents" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"title" varchar(255) NOT NULL,
	"severity" varchar(20) NOT NULL,
	"components" jsonb NOT NULL,
	"opened_at" timestamp with time zone DEFAULT now() NOT NULL,
	"closed_at" timestamp with time zone,
	CONSTRAINT "incidents_severity_known" CHECK ("incidents"."severity" in ('critical', 'high', 'medium', 'low'))
);
--> statement-breakpoint
CREATE TABLE "status_days" (
	"day" date NOT NULL,
	"component" varchar(50) NOT NULL,
	"operational" integer DEFAULT 0 NOT NULL,
	"degraded" integer DEFAULT 0 NOT NULL,
	"outage" integer DEFAULT 0 NOT NULL,
	"maintenance" integer DEFAULT 0 NOT NULL,
	CONSTRAINT "status_days_day_component_pk" PRIMARY KEY("day","component")
);
--> statement-breakpoint
ALTER TABLE "incident_updates" ADD CONSTRAINT "incident_updates_incident_id_incidents_id_fk" FOREIGN KEY ("incident_id") REFERENCES "public"."incidents"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "idx_incident_updates_incident" ON "incident_updates" USING btree ("incident_id","position");--> statement-breakpoint
CREATE UNIQUE INDEX "uq_incidents_open_title" ON "incidents" USING btree ("title") WHERE "incidents"."closed_at" is null;--> statement-breakpoint
CREATE INDEX "idx_incidents_closed_at" ON "incidents" USING btree ("closed_at");