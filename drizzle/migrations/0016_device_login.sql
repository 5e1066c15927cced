CREATE TABLE "device_logins" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"device_hash" "bytea" NOT NULL,
	"user_hash" "bytea" NOT NULL,
	"status" varchar(20) DEFAULT 'pending' NOT NULL,
	"name" varchar(100) NOT NULL,
	"scopes" varchar(20)[] NOT NULL,
	"ip" varchar(50),
	"user_id" uuid,
	"token_id" uuid,
	"poll_interval" integer NOT NULL,
	"polled_at" timestamp with time zone,
	"expires_at" timestamp with time zone NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "device_logins_device_hash_unique" UNIQUE("device_hash"),
	CONSTRAINT "device_logins_user_hash_unique" UNIQUE("user_hash"),
	CONSTRAINT "device_logins_status_known" CHECK ("device_logins"."status" in ('pending', 'approved', 'denied', 'spent'))
);
--> statement-breakpoint
ALTER TABLE "device_logins" ADD CONSTRAINT "device_logins_user_id_users_id_fk" FOREIGN KEY ("user_id") REFERENCES "public"."users"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "device_logins" ADD CONSTRAINT "device_logins_token_id_api_tokens_id_fk" FOREIGN KEY ("token_id") REFERENCES "public"."api_tokens"("id") ON DELETE set null ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "idx_device_logins_expires_at" ON "device_logins" USING btree ("expires_at");