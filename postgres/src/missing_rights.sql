-- The rights on the schema bunq_partner that the role lacks, each as `SELECT on bunq_partner.context`.
SELECT format('%s on bunq_partner.%s', privilege, relname)
FROM pg_catalog.pg_class
JOIN (VALUES
    ('r', 'SELECT'), ('r', 'INSERT'), ('r', 'UPDATE'), ('r', 'DELETE'),
    ('S', 'USAGE')
) AS needed (kind, privilege) ON kind = relkind
WHERE relnamespace = 'bunq_partner'::pg_catalog.regnamespace
    AND (relname <> 'schema_version' OR privilege = 'SELECT')
    AND NOT CASE kind
        WHEN 'S' THEN pg_catalog.has_sequence_privilege(pg_class.oid, privilege)
        ELSE pg_catalog.has_table_privilege(pg_class.oid, privilege)
    END
UNION ALL
SELECT format('EXECUTE on bunq_partner.%s', proname)
FROM pg_catalog.pg_proc
WHERE pronamespace = 'bunq_partner'::pg_catalog.regnamespace AND NOT pg_catalog.has_function_privilege(oid, 'EXECUTE')
ORDER BY 1
