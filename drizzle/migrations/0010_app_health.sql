ALTER TABLE "apps" ADD COLUMN "health_path" varchar(255);--> statement-breakpoint
ALTER TABLE "apps" ADD COLUMN "health_grace" integer;--> statement-breakpoint
ALTER TABLE "apps" ADD COLUMN "port" integer;