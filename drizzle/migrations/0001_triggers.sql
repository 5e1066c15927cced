-- No statement can forget updated_at: the database sets it.
CREATE FUNCTION "update_updated_at_column"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	NEW.updated_at = now();
	RETURN NEW;
END
$$;
--> statement-breakpoint
CREATE TRIGGER "touch_updated_at" BEFORE UPDATE ON "users" FOR EACH ROW EXECUTE FUNCTION "update_updated_at_column"();
--> statement-breakpoint
CREATE TRIGGER "touch_updated_at" BEFORE UPDATE ON "teams" FOR EACH ROW EXECUTE FUNCTION "update_updated_at_column"();
--> statement-breakpoint
CREATE TRIGGER "touch_updated_at" BEFORE UPDATE ON "apps" FOR EACH ROW EXECUTE FUNCTION "update_updated_at_column"();
--> statement-breakpoint
CREATE TRIGGER "touch_updated_at" BEFORE UPDATE ON "env_vars" FOR EACH ROW EXECUTE FUNCTION "update_updated_at_column"();
--> statement-breakpoint
CREATE TRIGGER "touch_updated_at" BEFORE UPDATE ON "deployments" FOR EACH ROW EXECUTE FUNCTION "update_updated_at_column"();
--> statement-breakpoint
CREATE TRIGGER "touch_updated_at" BEFORE UPDATE ON "maintenance_state" FOR EACH ROW EXECUTE FUNCTION "update_updated_at_column"();
--> statement-breakpoint
-- What was audited stays audited. Retention and erasure say so first, in their own transaction:
--   SET LOCAL rhone.audit_purge = 'on'
CREATE FUNCTION "refuse_audit_change"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF current_setting('rhone.audit_purge', true) = 'on' THEN
		RETURN NULL;
	END IF;
	RAISE EXCEPTION 'audit_logs is append-only: % refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END
$$;
--> statement-breakpoint
CREATE TRIGGER "append_only" BEFORE UPDATE OR DELETE OR TRUNCATE ON "audit_logs" FOR EACH STATEMENT EXECUTE FUNCTION "refuse_audit_change"();
