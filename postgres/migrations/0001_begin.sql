-- Contexts, users in custody, and the locks of both.

-- The versions of the schema that were made here. Programs that know `oldest_reader` or a later version can use the newest.
CREATE TABLE bunq_partner.schema_version (
    version integer PRIMARY KEY,
    oldest_reader integer NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    applied_by text NOT NULL
);

-- The keys and the session of a partner.
CREATE TABLE bunq_partner.context (
    name text PRIMARY KEY,
    text bytea NOT NULL,
    saved_at timestamptz NOT NULL DEFAULT now()
);

-- What is needed to act for a user of a partner. Only `text` is secret.
CREATE TABLE bunq_partner.custody_record (
    custody text NOT NULL,
    provision_id bigint NOT NULL,
    external_uuid uuid,
    user_id bigint,
    granted_by bigint,
    -- bunq's time, which is UTC.
    expiry timestamp,
    is_activated boolean NOT NULL,
    text bytea NOT NULL,
    saved_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (custody, provision_id)
);

CREATE INDEX custody_record_unactivated ON bunq_partner.custody_record (custody, provision_id) WHERE NOT is_activated;

-- Who holds a lock. The lock itself is an advisory lock of the holder's backend, which ends with its connection. A row tells
-- what PostgreSQL does not: whether the holder still runs, and which holder came after which. A crash of the server ends all
-- locks and empties the table.
CREATE UNLOGGED TABLE bunq_partner.lock (
    name text PRIMARY KEY,
    -- It grows with each holder.
    fence bigint NOT NULL,
    backend integer NOT NULL,
    holder text NOT NULL,
    taken_at timestamptz NOT NULL,
    renewed_at timestamptz NOT NULL
);

CREATE SEQUENCE bunq_partner.fence;

CREATE FUNCTION bunq_partner.lock_key(lock_name text) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$
    SELECT hashtextextended('bunq-partner lock ' || lock_name, 0)
$$;

-- Takes a lock, and returns its fence. If the lock is not free within the lease, it returns NULL, and is to be called again: whoever
-- renews its lease may keep the lock. Who has not renewed it for as long is ended, which frees the lock. No clock is compared
-- with another.
CREATE FUNCTION bunq_partner.take_lock(lock_name text, lock_holder text, lease interval) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    seen bunq_partner.lock;
    taken bigint;
BEGIN
    SELECT * INTO seen FROM bunq_partner.lock WHERE name = lock_name;
    PERFORM set_config('lock_timeout', (extract(epoch FROM lease) * 1000)::bigint::text, true);
    BEGIN
        PERFORM pg_advisory_lock(bunq_partner.lock_key(lock_name));
    EXCEPTION WHEN lock_not_available THEN
        PERFORM pg_terminate_backend(lock.backend)
        FROM bunq_partner.lock
        JOIN pg_catalog.pg_locks AS held ON held.pid = lock.backend
        WHERE lock.name = lock_name AND lock.fence = seen.fence AND lock.renewed_at = seen.renewed_at
            AND held.locktype = 'advisory' AND held.granted AND held.objsubid = 1
            AND held.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
            AND (held.classid::bigint << 32) | held.objid::bigint = bunq_partner.lock_key(lock_name);
        RETURN NULL;
    END;
    INSERT INTO bunq_partner.lock AS mine (name, fence, backend, holder, taken_at, renewed_at)
    VALUES (
        lock_name, nextval('bunq_partner.fence'), pg_backend_pid(),
        concat(current_setting('application_name'), ', ', lock_holder, ' at ' || host(inet_client_addr())),
        clock_timestamp(), clock_timestamp()
    )
    ON CONFLICT (name) DO UPDATE SET
        fence = excluded.fence, backend = excluded.backend, holder = excluded.holder,
        taken_at = excluded.taken_at, renewed_at = excluded.renewed_at
    RETURNING mine.fence INTO taken;
    RETURN taken;
END
$$;

-- Says that the holder still runs. It returns nothing if the lock was lost.
CREATE FUNCTION bunq_partner.renew_lock(lock_name text, lock_fence bigint) RETURNS SETOF bigint
LANGUAGE sql AS $$
    UPDATE bunq_partner.lock SET renewed_at = clock_timestamp() WHERE name = lock_name AND fence = lock_fence RETURNING fence
$$;

-- Makes sure that the lock is still held until the end of the statement that asks. It returns nothing if the lock was lost.
CREATE FUNCTION bunq_partner.hold_lock(lock_name text, lock_fence bigint) RETURNS SETOF bigint
LANGUAGE sql AS $$
    SELECT fence FROM bunq_partner.lock WHERE name = lock_name AND fence = lock_fence FOR SHARE
$$;

CREATE FUNCTION bunq_partner.release_lock(lock_name text, lock_fence bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM bunq_partner.lock WHERE name = lock_name AND fence = lock_fence;
    RETURN pg_advisory_unlock(bunq_partner.lock_key(lock_name));
END
$$;
