ALTER TABLE "apps" ADD COLUMN "root_directory" varchar(255);--> statement-breakpoint
ALTER TABLE "deployments" ADD COLUMN "error_log" text;