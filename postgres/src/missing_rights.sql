-- The rights on the schema bunq_partner that the role lacks, each as `SELECT on bunq_partner.context`.
SELECT format('%s on bunq_partner.%s', privilege, relname)
FROM pg_catalog.pg_class
CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege
WHERE relnamespace = 'bunq_partner'::pg_catalog.regnamespace
    AND relkind = 'r'
    AND (relname <> 'schema_version' OR privilege = 'SELECT')
    AND NOT has_table_privilege(pg_class.oid, privilege)
ORDER BY relname, privilege
