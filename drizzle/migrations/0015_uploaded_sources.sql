CREATE TABLE "source_archive_chunks" (
	"archive_id" uuid NOT NULL,
	"seq" integer NOT NULL,
	"content" "bytea" NOT NULL,
	CONSTRAINT "source_archive_chunks_archive_id_seq_pk" PRIMARY KEY("archive_id","seq")
);
--> statement-breakpoint
CREATE TABLE "source_archives" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"app_id" uuid NOT NULL,
	"digest" varchar(64) NOT NULL,
	"bytes" bigint NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
ALTER TABLE "deployments" ADD COLUMN "source_id" uuid;--> statement-breakpoint
ALTER TABLE "source_archive_chunks" ADD CONSTRAINT "source_archive_chunks_archive_id_source_archives_id_fk" FOREIGN KEY ("archive_id") REFERENCES "public"."source_archives"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "source_archives" ADD CONSTRAINT "source_archives_app_id_apps_id_fk" FOREIGN KEY ("app_id") REFERENCES "public"."apps"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
CREATE UNIQUE INDEX "source_archives_app_id_unique" ON "source_archives" USING btree ("app_id");--> statement-breakpoint
ALTER TABLE "source_archive_chunks" ALTER COLUMN "content" SET STORAGE EXTERNAL;
