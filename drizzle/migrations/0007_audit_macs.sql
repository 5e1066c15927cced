ALTER TABLE "audit_logs" ADD COLUMN "mac" "bytea";--> statement-breakpoint
ALTER TABLE "audit_seals" ADD COLUMN "row_digest" "bytea";--> statement-breakpoint
ALTER TABLE "audit_seals" ADD COLUMN "is_genuine" boolean;--> statement-breakpoint
ALTER TABLE "audit_seals" ADD COLUMN "is_continuous" boolean;--> statement-breakpoint
ALTER TABLE "audit_seals" ADD COLUMN "mac" "bytea";--> statement-breakpoint
ALTER TABLE "audit_seals" ADD COLUMN "erasure" "bytea";--> statement-breakpoint
ALTER TABLE "audit_seals" ADD COLUMN "erasure_key_id" varchar(64);--> statement-breakpoint
ALTER TABLE "audit_unsealed" ADD COLUMN "noted_at" timestamp with time zone DEFAULT clock_timestamp() NOT NULL;