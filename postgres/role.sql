-- The least rights with which services use the schema bunq_partner, as the role `bunq_partner_service`. Run this as the owner of the schema
-- or a superuser, after the first migration, with the database chosen; then `GRANT bunq_partner_service TO acme` for each user. It may be
-- run again.
--
-- All services of a partner connect as the same user: one that has lost its lock is ended by the next, which PostgreSQL permits within
-- a role only.
DO $$
BEGIN
    CREATE ROLE bunq_partner_service NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;
END
$$;

GRANT USAGE ON SCHEMA bunq_partner TO bunq_partner_service;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA bunq_partner TO bunq_partner_service;
REVOKE INSERT, UPDATE, DELETE ON bunq_partner.schema_version FROM bunq_partner_service;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA bunq_partner TO bunq_partner_service;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA bunq_partner TO bunq_partner_service;

-- What later migrations make, as the owner of the schema.
DO $$
DECLARE
    owner CONSTANT regrole := (SELECT nspowner FROM pg_namespace WHERE nspname = 'bunq_partner');
    of_owner CONSTANT text := format('ALTER DEFAULT PRIVILEGES FOR ROLE %s IN SCHEMA bunq_partner ', owner);
BEGIN
    EXECUTE of_owner || 'GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO bunq_partner_service';
    EXECUTE of_owner || 'GRANT USAGE ON SEQUENCES TO bunq_partner_service';
    EXECUTE of_owner || 'GRANT EXECUTE ON FUNCTIONS TO bunq_partner_service';
END
$$;
