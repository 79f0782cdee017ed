-- What a failover may have lost is not given out twice, and closes windows for long enough.

-- First, so that calls that run while this is applied wait for it, and it waits for none of them later.
LOCK TABLE bunq_partner.permit_windows IN ACCESS EXCLUSIVE MODE;

-- A server has a row for each that has noted it at once: who waits here for another, with a window locked, may wait for itself.
ALTER TABLE bunq_partner.permit_servers DROP CONSTRAINT permit_servers_pkey;

-- As in 0002, but for windows whose lease is raised after a restart.
CREATE OR REPLACE FUNCTION bunq_partner.permit_window(p_name text, p_lease interval, p_per interval) RETURNS bunq_partner.permit_windows
    LANGUAGE plpgsql AS $$
DECLARE
    w bunq_partner.permit_windows;
    clock timestamptz;
    longest interval;
    seen timestamptz;
    is_longer boolean;
BEGIN
    SELECT * INTO w FROM bunq_partner.permit_windows WHERE name = p_name FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    clock := clock_timestamp() + w.set_back;
    w.set_back := w.set_back + greatest(w.time - clock, '0');
    w.time := greatest(w.time, clock);
    is_longer := p_lease > w.lease;
    w.lease := greatest(w.lease, p_lease);
    IF w.named_until <= w.time THEN
        w.named_calls := NULL; w.named_per := NULL; w.named_until := NULL;
    END IF;
    IF w.claim_until <= w.time THEN
        w.claim_closed_until := NULL; w.claim_calls := NULL; w.claim_per := NULL; w.claim_until := NULL;
    END IF;
    DELETE FROM bunq_partner.permit_limits WHERE window_id = w.id AND used + per + '1 hour' < w.time;
    SELECT greatest(max(per), w.named_per, w.claim_per, p_per) INTO longest
        FROM bunq_partner.permit_limits WHERE window_id = w.id;
    -- A window that was made without a lease, or for a shorter one, was closed for too short a time.
    IF (is_longer OR w.server IS DISTINCT FROM pg_postmaster_start_time()) AND longest IS NOT NULL THEN
        SELECT min(first_seen) INTO seen FROM bunq_partner.permit_servers WHERE started = pg_postmaster_start_time();
        IF seen IS NULL THEN
            seen := CASE WHEN EXISTS (SELECT FROM bunq_partner.permit_servers) THEN clock_timestamp() ELSE '-infinity' END;
            INSERT INTO bunq_partner.permit_servers VALUES (pg_postmaster_start_time(), seen);
        END IF;
        -- A permit may have been given that begins 3 s later. If the clock was set back since then, the time
        -- counts from now on.
        w.closed_until := greatest(
            w.closed_until, least(seen + w.set_back, w.time) + w.lease + least(longest, '3 s') + longest
        );
        w.server := pg_postmaster_start_time();
    END IF;
    DELETE FROM bunq_partner.permits
        WHERE window_id = w.id AND coalesce(settled, lease_until) + longest <= w.time;
    UPDATE bunq_partner.permit_windows SET
        time = w.time, set_back = w.set_back, lease = w.lease, server = w.server, closed_until = w.closed_until,
        named_calls = w.named_calls, named_per = w.named_per, named_until = w.named_until,
        claim_closed_until = w.claim_closed_until, claim_calls = w.claim_calls, claim_per = w.claim_per,
        claim_until = w.claim_until
        WHERE id = w.id;
    RETURN w;
END $$;

-- As in 0002, but with ids that are not given out again: a standby repeats those of a sequence that it has not heard of. The
-- sequence stays for calls that run while this is applied.
CREATE OR REPLACE FUNCTION bunq_partner.take_permit(
    p_member uuid, p_windows text[], p_calls integer, p_per bigint, p_lease bigint, p_waited bigint, p_is_urgent boolean,
    p_deadline bigint, OUT permit bigint, OUT wait bigint
) LANGUAGE plpgsql AS $$
DECLARE
    length CONSTANT interval := bunq_partner.microseconds(p_per);
    -- A place is granted so long before it is free, in which the answer is on its way.
    lead CONSTANT interval := least(length / 2, '200 ms');
    -- The longest time that a place is granted ahead: no refusal takes it back.
    horizon CONSTANT interval := least(length, '3 s');
    -- So long a member that was told to ask may be late before others go.
    grace CONSTANT interval := '1 s';
    a_window text;
    w bunq_partner.permit_windows;
    windows bunq_partner.permit_windows[];
    mine bunq_partner.permit_waiters;
    -- Those that go before this member, and of them those that ask before the place that is free first is given up.
    ahead integer;
    rivals integer;
    own record;
    granted record;
    first record;
    is_known boolean := true;
    has_come_back boolean := true;
    until_turn interval := '0';
    until_granted interval := '0';
    until_first interval := '0';
BEGIN
    FOR a_window IN SELECT unnest(p_windows) ORDER BY 1 LOOP
        w := bunq_partner.permit_window(a_window, bunq_partner.microseconds(p_lease), length);
        IF w.id IS NULL THEN
            INSERT INTO bunq_partner.permit_windows (name) VALUES (a_window) ON CONFLICT (name) DO NOTHING;
            IF random() < 0.01 THEN
                PERFORM bunq_partner.forget_permit_windows();
            END IF;
            w := bunq_partner.permit_window(a_window, bunq_partner.microseconds(p_lease), length);
        END IF;
        windows := windows || w;
        INSERT INTO bunq_partner.permit_limits AS known VALUES (w.id, p_calls, length, w.time)
            ON CONFLICT (window_id, calls, per) DO UPDATE SET used = w.time WHERE known.used + '1 min' < w.time;

        SELECT * INTO mine FROM bunq_partner.permit_waiters WHERE window_id = w.id AND member = p_member;
        IF mine.ask_at IS NULL THEN
            has_come_back := false;
            -- Whoever was served goes behind all that wait.
            mine.since := greatest(w.time - bunq_partner.microseconds(p_waited), mine.served);
        ELSE
            has_come_back := has_come_back AND mine.ask_at <= w.time;
        END IF;
        mine.is_urgent := p_is_urgent;
        mine.deadline := coalesce(w.time + bunq_partner.microseconds(p_deadline), 'infinity');
        INSERT INTO bunq_partner.permit_waiters
            VALUES (w.id, p_member, mine.is_urgent, mine.deadline, mine.since, mine.ask_at, '-infinity')
            ON CONFLICT (window_id, member) DO UPDATE SET
                is_urgent = excluded.is_urgent, deadline = excluded.deadline, since = excluded.since;
        -- The place itself is the one that is free first: those before it have the next ones.
        first := bunq_partner.permit_turn(w, 0);
        SELECT count(*), count(*) FILTER (WHERE other.ask_at <= first.turn + grace) INTO ahead, rivals
            FROM bunq_partner.permit_waiters AS other
            WHERE other.window_id = w.id AND other.member <> p_member AND other.ask_at + grace > w.time
            AND (NOT other.is_urgent, other.deadline, other.since, other.member)
                < (NOT mine.is_urgent, mine.deadline, mine.since, p_member);

        own := CASE WHEN ahead = 0 THEN first ELSE bunq_partner.permit_turn(w, ahead) END;
        granted := CASE rivals WHEN 0 THEN first WHEN ahead THEN own ELSE bunq_partner.permit_turn(w, rivals) END;
        is_known := is_known AND granted.is_known AND first.is_known;
        until_turn := greatest(until_turn, own.turn - w.time);
        until_granted := greatest(until_granted, granted.turn - w.time);
        until_first := greatest(until_first, first.turn - w.time);
        -- After a refusal calls are sent one at a time.
        IF w.refusals > 0 AND (rivals > 0 OR EXISTS (
            SELECT FROM bunq_partner.permits AS p
                WHERE p.window_id = w.id AND p.settled IS NULL AND p.lease_until > w.time
        )) THEN
            is_known := false;
            until_turn := greatest(until_turn, lead + least(greatest(length / 4, '100 ms'), '1 s'));
        END IF;
    END LOOP;

    IF is_known AND (until_granted <= lead OR has_come_back AND until_granted <= horizon) THEN
        permit := hashtextextended(gen_random_uuid()::text, 0) & 9223372036854775807;
        wait := ceil(extract(epoch FROM until_first) * 1000000);
    ELSE
        wait := ceil(extract(epoch FROM greatest(until_turn - lead, '10 ms')) * 1000000);
    END IF;
    FOREACH w IN ARRAY windows LOOP
        IF permit IS NOT NULL THEN
            INSERT INTO bunq_partner.permits VALUES (
                w.id, permit, p_member, w.time + until_first,
                w.time + until_first + bunq_partner.microseconds(p_lease), NULL
            );
        END IF;
        UPDATE bunq_partner.permit_waiters SET
            ask_at = CASE WHEN permit IS NULL THEN w.time + bunq_partner.microseconds(wait) END,
            served = CASE WHEN permit IS NULL THEN served ELSE w.time END
            WHERE window_id = w.id AND member = p_member;
        DELETE FROM bunq_partner.permit_waiters
            WHERE window_id = w.id AND greatest(ask_at, since, served) + '10 min' < w.time;
    END LOOP;
END $$;

-- As in 0002, but nobody waits for what need not outlast a crash.
CREATE OR REPLACE FUNCTION bunq_partner.settle_permit(
    p_member uuid, p_windows text[], p_permit bigint, p_is_admitted boolean, p_pause bigint, p_named_calls integer,
    p_named_per bigint, p_claim_pause bigint, p_claim_calls integer, p_claim_per bigint
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    a_window text;
    w bunq_partner.permit_windows;
    was_held boolean := true;
BEGIN
    -- Where this is lost, as with the server, the place is taken until its lease ends.
    IF p_pause IS NULL THEN
        PERFORM set_config('synchronous_commit', 'off', true);
    END IF;
    FOR a_window IN SELECT unnest(p_windows) ORDER BY 1 LOOP
        w := bunq_partner.permit_window(a_window, NULL, NULL);
        CONTINUE WHEN w.id IS NULL;
        -- This was told before, over a connection that has ended.
        CONTINUE WHEN EXISTS (
            SELECT FROM bunq_partner.permits WHERE window_id = w.id AND id = p_permit AND settled IS NOT NULL
        );
        was_held := was_held AND EXISTS (
            SELECT FROM bunq_partner.permits
                WHERE window_id = w.id AND id = p_permit AND settled IS NULL AND lease_until > w.time
        );
        INSERT INTO bunq_partner.permits VALUES (w.id, p_permit, p_member, w.time, w.time, w.time)
            ON CONFLICT (window_id, id) DO UPDATE SET settled = w.time;
        IF p_is_admitted THEN
            UPDATE bunq_partner.permit_windows SET
                refusals = 0, claim_closed_until = NULL, claim_calls = NULL, claim_per = NULL, claim_until = NULL
                WHERE id = w.id AND (refusals > 0 OR claim_until IS NOT NULL);
        ELSIF p_pause IS NOT NULL THEN
            UPDATE bunq_partner.permit_windows SET
                refusals = refusals + 1,
                closed_until = greatest(closed_until, w.time + bunq_partner.microseconds(p_pause)),
                named_calls = coalesce(p_named_calls, named_calls),
                named_per = coalesce(bunq_partner.microseconds(p_named_per), named_per),
                named_until = CASE WHEN p_named_calls IS NULL THEN named_until ELSE w.time + '1 day' END
                WHERE id = w.id;
            UPDATE bunq_partner.permit_windows SET
                claim_closed_until = greatest(claim_closed_until, w.time + bunq_partner.microseconds(p_claim_pause)),
                claim_calls = coalesce(p_claim_calls, claim_calls),
                claim_per = coalesce(bunq_partner.microseconds(p_claim_per), claim_per),
                claim_until = w.time + '1 min'
                WHERE id = w.id AND p_claim_pause IS NOT NULL;
        END IF;
    END LOOP;
    RETURN was_held;
END $$;

-- A server that takes over may not have heard of any permit: it knows then that there was another before.
INSERT INTO bunq_partner.permit_servers
    SELECT pg_postmaster_start_time(), '-infinity' WHERE NOT EXISTS (SELECT FROM bunq_partner.permit_servers);
