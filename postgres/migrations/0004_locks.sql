-- Who waits for a lock for a short time only, as whoever opens the session of a user, takes over one whose lease is over too: the end of
-- the lease is counted from its last renewal, not from when somebody began to wait.

-- Ends the backend that has a lock whose lease is over. One of another role cannot be ended.
CREATE FUNCTION bunq_partner.end_lease(found_lock bunq_partner.lock) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM bunq_partner.end_lock_of(found_lock.name, found_lock.backend);
EXCEPTION WHEN insufficient_privilege THEN
    RAISE EXCEPTION 'the lock "%" is held by another role: %, backend %', found_lock.name, found_lock.holder, found_lock.backend
        USING ERRCODE = 'object_in_use';
END
$$;

-- Takes a lock, and returns its fence. It returns NULL if the lock was not free within the lease, and is to be called again then. A
-- holder that renews its lease keeps the lock. The connection of one that has not renewed it for as long is ended: it has the lock back if
-- it still runs, as after the clock was set forward. No clock is compared with another.
CREATE OR REPLACE FUNCTION bunq_partner.take_lock(lock_name text, lock_holder text, lease interval) RETURNS uuid
LANGUAGE plpgsql AS $$
DECLARE
    found_lock bunq_partner.lock;
    last_renewal timestamptz;
    -- What is left of the lease. The clock may have been set back since the renewal.
    remaining interval := lease;
    taken uuid := gen_random_uuid();
BEGIN
    SELECT * INTO found_lock FROM bunq_partner.lock WHERE name = lock_name;
    IF FOUND THEN
        remaining := least(found_lock.renewed_at + lease - clock_timestamp(), lease);
        IF remaining <= '0' THEN
            PERFORM bunq_partner.end_lease(found_lock);
            remaining := lease;
        END IF;
    END IF;
    PERFORM set_config('lock_timeout', ceil(extract(epoch FROM remaining) * 1000)::bigint::text, true);
    BEGIN
        PERFORM pg_advisory_lock(bunq_partner.lock_key(lock_name));
    EXCEPTION WHEN lock_not_available THEN
        PERFORM bunq_partner.end_lease(lock)
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
