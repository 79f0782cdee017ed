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

-- Who holds a lock. The lock is an advisory lock of the holder's backend too, which ends with its connection. A row tells what PostgreSQL
-- does not: whether the holder still runs, and whether the lock was released or its connection has ended.
CREATE TABLE bunq_partner.lock (
    name text PRIMARY KEY,
    -- It differs for each holder, also after a failover that has lost the last of them.
    fence uuid NOT NULL,
    backend integer NOT NULL,
    holder text NOT NULL,
    taken_at timestamptz NOT NULL,
    renewed_at timestamptz NOT NULL
);

CREATE FUNCTION bunq_partner.lock_key(lock_name text) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$
    SELECT hashtextextended('bunq-partner lock ' || lock_name, 0)
$$;

-- Ends a backend if it has the advisory lock.
CREATE FUNCTION bunq_partner.end_lock_of(lock_name text, of_backend integer) RETURNS void
LANGUAGE sql AS $$
    SELECT pg_terminate_backend(pid)
    FROM pg_catalog.pg_locks
    WHERE pid = of_backend AND locktype = 'advisory' AND granted AND objsubid = 1
        AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
        AND (classid::bigint << 32) | objid::bigint = bunq_partner.lock_key(lock_name)
$$;

-- Takes a lock, and returns its fence. It returns NULL if the lock was not free within the lease, and is to be called again then. A
-- holder that renews its lease keeps the lock. The connection of one that has not renewed it for as long is ended. No clock is compared
-- with another.
CREATE FUNCTION bunq_partner.take_lock(lock_name text, lock_holder text, lease interval) RETURNS uuid
LANGUAGE plpgsql AS $$
DECLARE
    found_lock bunq_partner.lock;
    last_renewal timestamptz;
    taken uuid := gen_random_uuid();
BEGIN
    SELECT * INTO found_lock FROM bunq_partner.lock WHERE name = lock_name;
    PERFORM set_config('lock_timeout', (extract(epoch FROM lease) * 1000)::bigint::text, true);
    BEGIN
        PERFORM pg_advisory_lock(bunq_partner.lock_key(lock_name));
    EXCEPTION WHEN lock_not_available THEN
        PERFORM bunq_partner.end_lock_of(lock_name, backend)
        FROM bunq_partner.lock
        WHERE name = lock_name AND fence = found_lock.fence AND renewed_at = found_lock.renewed_at;
        RETURN NULL;
    END;
    FOR pause IN 1..5 LOOP
        SELECT * INTO found_lock FROM bunq_partner.lock WHERE name = lock_name;
        IF NOT FOUND OR found_lock.renewed_at = last_renewal THEN
            INSERT INTO bunq_partner.lock (name, fence, backend, holder, taken_at, renewed_at)
            VALUES (
                lock_name, taken, pg_backend_pid(),
                concat(current_setting('application_name'), ', ', lock_holder, ' at ' || host(inet_client_addr())),
                clock_timestamp(), clock_timestamp()
            )
            ON CONFLICT (name) DO UPDATE SET
                fence = excluded.fence, backend = excluded.backend, holder = excluded.holder,
                taken_at = excluded.taken_at, renewed_at = excluded.renewed_at;
            RETURN taken;
        END IF;
        -- The lock was not released: the connection of its holder has ended. A holder that still runs keeps it, and renews its lease over
        -- another connection within this time, again and again until it has the advisory lock.
        last_renewal := found_lock.renewed_at;
        PERFORM pg_sleep(0.75);
    END LOOP;
    PERFORM pg_advisory_unlock(bunq_partner.lock_key(lock_name));
    RETURN NULL;
END
$$;

-- Renews the lease of a lock. It is called over another connection if that of the lock has ended or is stuck, and is called again
-- then while it returns false. It returns NULL if the lock was lost.
CREATE FUNCTION bunq_partner.renew_lock(lock_name text, lock_fence uuid) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    of_backend integer;
BEGIN
    SELECT backend INTO of_backend FROM bunq_partner.lock WHERE name = lock_name AND fence = lock_fence FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    UPDATE bunq_partner.lock SET renewed_at = clock_timestamp() WHERE name = lock_name;
    IF of_backend = pg_backend_pid() THEN
        RETURN true;
    END IF;
    PERFORM bunq_partner.end_lock_of(lock_name, of_backend);
    IF NOT pg_try_advisory_lock(bunq_partner.lock_key(lock_name)) THEN
        RETURN false;
    END IF;
    UPDATE bunq_partner.lock SET backend = pg_backend_pid() WHERE name = lock_name;
    RETURN true;
END
$$;

-- Makes sure that the lock is still held until the end of the statement that asks. It returns nothing if the lock was lost.
CREATE FUNCTION bunq_partner.hold_lock(lock_name text, lock_fence uuid) RETURNS SETOF uuid
LANGUAGE sql AS $$
    SELECT fence FROM bunq_partner.lock WHERE name = lock_name AND fence = lock_fence FOR SHARE
$$;
