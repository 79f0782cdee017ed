-- Permits within bunq's rate limits, for all members: the processes that share the windows.
--
-- A permit counts in its windows from its start until one window after its response. Until the response is there, the permit is
-- held under a lease, which its member renews. What becomes of a call whose member has died is not known: it counts as if the
-- response had come when the lease ended.
--
-- All times are those of this server's clock, by the window: each function locks the rows of its windows first, in the order of their
-- names, so that what happens to a window happens one after the other, and its time never goes back. Durations come and go in
-- microseconds.

-- What bunq counts together: one operation at one bank, for an address or an API key.
CREATE TABLE bunq_partner.permit_windows (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    -- The last time that was seen, and how far the clock has been set back since the window was made.
    time timestamptz NOT NULL DEFAULT clock_timestamp(),
    set_back interval NOT NULL DEFAULT '0',
    -- The longest lease of its members.
    lease interval NOT NULL DEFAULT '0',
    -- When the server was started that gave a permit last; NULL: none has.
    server timestamptz,
    -- No call is sent before this.
    closed_until timestamptz NOT NULL DEFAULT '-infinity',
    -- How many calls bunq has refused since it last accepted one.
    refusals integer NOT NULL DEFAULT 0,
    -- The limit that bunq has named in a signed refusal last. It holds for a day.
    named_calls integer,
    named_per interval,
    named_until timestamptz,
    -- What refusals without a signature ask for, until bunq accepts a call, and for at most a minute.
    claim_closed_until timestamptz,
    claim_calls integer,
    claim_per interval,
    claim_until timestamptz
) WITH (fillfactor = 50);

-- The servers that have given permits, by when they were started, and when each gave its first. What the one before has given last
-- may be lost, by a crash or a failover: so each window begins closed once, a new one too. '-infinity': there was none before.
CREATE TABLE bunq_partner.permit_servers (
    started timestamptz PRIMARY KEY,
    first_seen timestamptz NOT NULL
);

-- The limits that members keep to. All of them apply, each as long as somebody has used it in the last hour.
CREATE TABLE bunq_partner.permit_limits (
    window_id bigint NOT NULL REFERENCES bunq_partner.permit_windows ON DELETE CASCADE,
    calls integer NOT NULL CHECK (calls > 0),
    per interval NOT NULL CHECK (per > '0'),
    used timestamptz NOT NULL,
    PRIMARY KEY (window_id, calls, per)
);

CREATE SEQUENCE bunq_partner.permit_ids;

-- The permits that count, with one row for each window.
CREATE TABLE bunq_partner.permits (
    window_id bigint NOT NULL REFERENCES bunq_partner.permit_windows ON DELETE CASCADE,
    id bigint NOT NULL,
    member uuid NOT NULL,
    -- The call is not sent before this.
    starts timestamptz NOT NULL,
    lease_until timestamptz NOT NULL,
    -- When the call was over; NULL: it is not, as far as is known.
    settled timestamptz,
    PRIMARY KEY (window_id, id)
);
CREATE INDEX ON bunq_partner.permits (id);

-- The members that wait for a permit, or have had one lately. However many calls of a member wait, it has one row.
CREATE TABLE bunq_partner.permit_waiters (
    window_id bigint NOT NULL REFERENCES bunq_partner.permit_windows ON DELETE CASCADE,
    member uuid NOT NULL,
    is_urgent boolean NOT NULL,
    deadline timestamptz NOT NULL,
    since timestamptz NOT NULL,
    -- When it asks again; NULL: it does not wait.
    ask_at timestamptz,
    -- When it was granted a permit last.
    served timestamptz NOT NULL,
    PRIMARY KEY (window_id, member)
) WITH (fillfactor = 50);

CREATE FUNCTION bunq_partner.microseconds(bigint) RETURNS interval
    LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT $1 * interval '1 microsecond'
$$;

-- Locks a window, moves its time to now, and removes what counts no more. NULL if there is none of this name.
CREATE FUNCTION bunq_partner.permit_window(p_name text, p_lease interval, p_per interval) RETURNS bunq_partner.permit_windows
    LANGUAGE plpgsql AS $$
DECLARE
    w bunq_partner.permit_windows;
    clock timestamptz;
    longest interval;
    seen timestamptz;
BEGIN
    SELECT * INTO w FROM bunq_partner.permit_windows WHERE name = p_name FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    clock := clock_timestamp() + w.set_back;
    w.set_back := w.set_back + greatest(w.time - clock, '0');
    w.time := greatest(w.time, clock);
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
    IF w.server IS DISTINCT FROM pg_postmaster_start_time() AND longest IS NOT NULL THEN
        SELECT first_seen INTO seen FROM bunq_partner.permit_servers WHERE started = pg_postmaster_start_time();
        IF NOT FOUND THEN
            seen := CASE WHEN EXISTS (SELECT FROM bunq_partner.permit_servers) THEN clock_timestamp() ELSE '-infinity' END;
            INSERT INTO bunq_partner.permit_servers VALUES (pg_postmaster_start_time(), seen) ON CONFLICT DO NOTHING;
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

-- Removes windows in which nothing has counted for a day, such as those of sessions that are over.
CREATE FUNCTION bunq_partner.forget_permit_windows() RETURNS void
    LANGUAGE sql AS $$
    DELETE FROM bunq_partner.permit_windows WHERE id IN (
        SELECT id FROM bunq_partner.permit_windows AS w
            WHERE greatest(time - set_back, closed_until) + greatest(
                '1 day', lease + (SELECT max(per) FROM bunq_partner.permit_limits WHERE window_id = w.id), lease + named_per
            ) < clock_timestamp()
            LIMIT 1000 FOR UPDATE SKIP LOCKED
    );
$$;

-- When a call can be sent that has so many others before it. A call whose response is not there keeps its place for one window
-- from now at least: then the turn is known as a lower bound alone.
CREATE FUNCTION bunq_partner.permit_turn(
    w bunq_partner.permit_windows, p_ahead integer, OUT turn timestamptz, OUT is_known boolean
) LANGUAGE plpgsql AS $$
DECLARE
    opens timestamptz := greatest(w.time, w.closed_until, w.claim_closed_until);
    a_limit record;
    free timestamptz[];
    known integer;
    place integer;
    rounds integer;
    -- How long calls take at least, as far as is known.
    exchange interval;
    candidate timestamptz;
BEGIN
    turn := opens;
    is_known := true;
    SELECT least(coalesce(min(settled - starts), '0'), '100 ms') INTO exchange
        FROM bunq_partner.permits WHERE window_id = w.id AND settled > starts;
    FOR a_limit IN
        SELECT calls, per, timestamptz 'infinity' AS until FROM bunq_partner.permit_limits WHERE window_id = w.id
        UNION ALL SELECT w.named_calls, w.named_per, 'infinity' WHERE w.named_calls IS NOT NULL
        UNION ALL SELECT w.claim_calls, w.claim_per, w.claim_until WHERE w.claim_calls IS NOT NULL
    LOOP
        SELECT coalesce(array_agg(is_free ORDER BY is_free), '{}'), count(*) FILTER (WHERE is_over) INTO free, known FROM (
            SELECT settled IS NOT NULL OR lease_until <= w.time AS is_over,
                CASE WHEN settled IS NOT NULL OR lease_until <= w.time THEN coalesce(settled, lease_until)
                    ELSE greatest(w.time, starts) END + a_limit.per AS is_free
                FROM bunq_partner.permits WHERE window_id = w.id
        ) AS places WHERE is_free > w.time;
        rounds := p_ahead / a_limit.calls;
        -- Those that are known are the first to be free.
        place := cardinality(free) + p_ahead % a_limit.calls - a_limit.calls;
        candidate := greatest(CASE WHEN place >= 0 THEN free[place + 1] END, opens) + rounds * (a_limit.per + exchange);
        is_known := is_known AND (rounds = 0 AND place < known OR candidate >= a_limit.until);
        turn := greatest(turn, least(candidate, a_limit.until));
    END LOOP;
END $$;

-- Takes a permit for a member, or says when it is to ask again: `permit` is NULL then, and `wait` is the time until then. Otherwise
-- the permit is free after `wait`. A place is granted when it is known and soon free, or when the member asks for it for the second
-- time: who waits asks twice.
CREATE FUNCTION bunq_partner.take_permit(
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

        own := bunq_partner.permit_turn(w, ahead);
        granted := bunq_partner.permit_turn(w, rivals);
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
        permit := nextval('bunq_partner.permit_ids');
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

-- Ends a permit whose call is over. Returns whether it was held until now. If not, its call counts from now on nevertheless: it may
-- have arrived later than its lease allowed.
CREATE FUNCTION bunq_partner.settle_permit(
    p_member uuid, p_windows text[], p_permit bigint, p_is_admitted boolean, p_pause bigint, p_named_calls integer,
    p_named_per bigint, p_claim_pause bigint, p_claim_calls integer, p_claim_per bigint
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    a_window text;
    w bunq_partner.permit_windows;
    was_held boolean := true;
BEGIN
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

-- Renews the leases of a member's permits. Returns those whose leases have ended before.
CREATE FUNCTION bunq_partner.renew_permits(p_member uuid, p_permits bigint[], p_lease bigint) RETURNS bigint[]
    LANGUAGE plpgsql AS $$
DECLARE
    a_window text;
    w bunq_partner.permit_windows;
    renewed bigint[] := '{}';
BEGIN
    FOR a_window IN
        SELECT DISTINCT windows.name
            FROM bunq_partner.permits JOIN bunq_partner.permit_windows AS windows ON windows.id = window_id
            WHERE permits.id = ANY (p_permits) ORDER BY 1
    LOOP
        w := bunq_partner.permit_window(a_window, bunq_partner.microseconds(p_lease), NULL);
        WITH held AS (
            UPDATE bunq_partner.permits SET lease_until = greatest(lease_until, w.time + bunq_partner.microseconds(p_lease))
                WHERE window_id = w.id AND id = ANY (p_permits) AND member = p_member
                AND settled IS NULL AND lease_until > w.time
                RETURNING id
        ) SELECT renewed || array_agg(id) INTO renewed FROM held;
    END LOOP;
    RETURN ARRAY (SELECT unnest(p_permits) EXCEPT SELECT unnest(renewed));
END $$;

-- A member waits no more. With its permits in `p_unused` nothing was sent: they count no more.
CREATE FUNCTION bunq_partner.withdraw_permits(p_member uuid, p_windows text[], p_unused bigint[]) RETURNS void
    LANGUAGE sql AS $$
    SELECT FROM bunq_partner.permit_windows WHERE name = ANY (p_windows) ORDER BY name FOR UPDATE;
    DELETE FROM bunq_partner.permits WHERE id = ANY (p_unused) AND member = p_member AND settled IS NULL;
    UPDATE bunq_partner.permit_waiters SET ask_at = NULL
        WHERE member = p_member
        AND window_id IN (SELECT id FROM bunq_partner.permit_windows WHERE name = ANY (p_windows));
$$;
