CREATE TABLE "secret_holders" (
	"instance" uuid PRIMARY KEY NOT NULL,
	"seen_at" timestamp with time zone DEFAULT now() NOT NULL,
	"holds" jsonb NOT NULL
);
