-- Shares of the limits that members keep to while they cannot reach this database.
--
-- While a member renews its lease, it asks here like all others, and nothing is held back for it. Once its lease has ended, its share is
-- held back in each window of its scopes until it has come back, or is forgotten: it may use its share unseen. It begins to do so when
-- its lease must have ended, and what was given out before has left the windows.

-- One row for each time that a member has joined.
CREATE TABLE bunq_partner.permit_shares (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    member uuid NOT NULL,
    -- Of each limit, rounded down to whole calls.
    percent integer NOT NULL CHECK (percent BETWEEN 1 AND 100),
    -- What its calls count by, as `permit_scope` has it.
    scopes text[] NOT NULL,
    lease interval NOT NULL,
    renewed timestamptz NOT NULL,
    -- Its lease has ended. It is not renewed any more, whatever the clock shows.
    is_lapsed boolean NOT NULL DEFAULT false,
    -- When it came back, was replaced or forgotten; NULL: it has not. What it has sent until then counts for one window more.
    ended timestamptz
);
CREATE UNIQUE INDEX ON bunq_partner.permit_shares (name) WHERE ended IS NULL;
CREATE INDEX ON bunq_partner.permit_windows (lease);
CREATE INDEX ON bunq_partner.permit_windows (named_until) WHERE named_until IS NOT NULL;

-- What the calls of a window count by: 'address NAME', or 'key'. NULL: sessions, of which no share is held back.
CREATE FUNCTION bunq_partner.permit_scope(p_window text) RETURNS text
    LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE split_part(p_window, ' ', 3)
        WHEN 'key' THEN 'key'
        WHEN 'address' THEN substring(p_window FROM '^[^ ]* [^ ]* (.*)$')
    END
$$;

-- Marks the shares whose leases have ended. If the clock was set back to before a renewal, nobody knows when its lease ends. Those that
-- somebody else changes are left out: whoever takes a permit must not wait here.
CREATE FUNCTION bunq_partner.lapse_shares(p_clock timestamptz) RETURNS void
    LANGUAGE plpgsql AS $$
BEGIN
    UPDATE bunq_partner.permit_shares SET is_lapsed = true WHERE id IN (
        SELECT id FROM bunq_partner.permit_shares
            WHERE ended IS NULL AND NOT is_lapsed AND (p_clock < renewed OR renewed + lease <= p_clock)
            FOR UPDATE SKIP LOCKED
    );
END $$;

-- Has a member join, or come back: `p_heard` is then the last time of this clock that it knows, and it does not use its share now. Who
-- joins replaces an earlier process of its name. The outcome is 'joined'; 'replaced' if another process has its name meanwhile; or 'over'
-- if less than its share is left of the scopes, with those that have the rest.
CREATE FUNCTION bunq_partner.join_share(
    p_name text, p_member uuid, p_percent integer, p_scopes text[], p_lease bigint, p_heard timestamptz,
    OUT clock timestamptz, OUT outcome text, OUT others text, OUT percent_left integer
) LANGUAGE plpgsql AS $$
DECLARE
    lease CONSTANT interval := bunq_partner.microseconds(p_lease);
    found_share bunq_partner.permit_shares;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('bunq-partner shares', 0));
    clock := clock_timestamp();
    outcome := 'joined';
    -- The member may have given up waiting for what comes so late, and use its share.
    IF p_heard + lease <= clock THEN
        RETURN;
    END IF;
    -- Locked first: what others change is left out.
    SELECT * INTO found_share FROM bunq_partner.permit_shares AS known WHERE known.name = p_name AND ended IS NULL FOR UPDATE;
    PERFORM bunq_partner.lapse_shares(clock);
    DELETE FROM bunq_partner.permit_shares WHERE ended + '31 days' < clock;
    IF p_heard IS NOT NULL THEN
        UPDATE bunq_partner.permit_shares SET ended = clock WHERE id = found_share.id AND member = p_member;
        IF NOT FOUND THEN
            INSERT INTO bunq_partner.permit_shares (name, member, percent, scopes, lease, renewed, ended)
                VALUES (p_name, p_member, p_percent, p_scopes, lease, clock, clock);
        END IF;
        IF found_share.member <> p_member THEN
            outcome := 'replaced';
            RETURN;
        END IF;
    END IF;
    SELECT 100 - coalesce(sum(percent), 0), string_agg(format('%s has %s %%', known.name, percent), ', ' ORDER BY known.name)
        INTO percent_left, others
        FROM bunq_partner.permit_shares AS known WHERE known.name <> p_name AND ended IS NULL AND scopes && p_scopes;
    IF percent_left < p_percent THEN
        outcome := 'over';
        RETURN;
    END IF;
    UPDATE bunq_partner.permit_shares SET ended = clock WHERE name = p_name AND ended IS NULL AND is_lapsed;
    -- One that has not lapsed was not used.
    DELETE FROM bunq_partner.permit_shares WHERE name = p_name AND ended IS NULL;
    INSERT INTO bunq_partner.permit_shares (name, member, percent, scopes, lease, renewed)
        VALUES (p_name, p_member, p_percent, p_scopes, lease, clock);
END $$;

-- Renews the lease of a share, if it has not ended and this comes within a lease of `p_heard`, the last time of this clock that the
-- member knows. `holder` is who has the name; NULL: nobody. `longest_lease` is that of all permits. `named` are the windows for which bunq
-- has named a limit.
CREATE FUNCTION bunq_partner.renew_share(
    p_name text, p_member uuid, p_heard timestamptz,
    OUT clock timestamptz, OUT holder uuid, OUT is_renewed boolean, OUT longest_lease bigint, OUT named text[]
) LANGUAGE plpgsql AS $$
BEGIN
    SELECT member INTO holder FROM bunq_partner.permit_shares WHERE name = p_name AND ended IS NULL FOR UPDATE;
    clock := clock_timestamp();
    PERFORM bunq_partner.lapse_shares(clock);
    UPDATE bunq_partner.permit_shares SET renewed = clock
        WHERE name = p_name AND ended IS NULL AND member = p_member AND NOT is_lapsed AND clock < p_heard + lease;
    is_renewed := FOUND;
    -- The clock was set back.
    UPDATE bunq_partner.permit_shares SET ended = clock WHERE ended > clock;
    SELECT ceil(extract(epoch FROM max(lease)) * 1000000) INTO longest_lease FROM bunq_partner.permit_windows;
    SELECT coalesce(array_agg(name), '{}') INTO named FROM bunq_partner.permit_windows
        WHERE named_until > clock AND bunq_partner.permit_scope(name) IS NOT NULL;
END $$;

-- As in 0002, without what is held back.
CREATE OR REPLACE FUNCTION bunq_partner.permit_turn(
    w bunq_partner.permit_windows, p_ahead integer, OUT turn timestamptz, OUT is_known boolean
) LANGUAGE plpgsql AS $$
DECLARE
    clock CONSTANT timestamptz := clock_timestamp();
    scope CONSTANT text := bunq_partner.permit_scope(w.name);
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
    IF EXISTS (
        SELECT FROM bunq_partner.permit_shares
            WHERE ended IS NULL AND NOT is_lapsed AND (clock < renewed OR renewed + lease <= clock)
    ) THEN
        PERFORM bunq_partner.lapse_shares(clock);
    END IF;
    FOR a_limit IN
        SELECT limits.calls - held_back.calls AS calls, per, until FROM (
            SELECT calls, per, timestamptz 'infinity' AS until FROM bunq_partner.permit_limits WHERE window_id = w.id
            UNION ALL SELECT w.named_calls, w.named_per, 'infinity' WHERE w.named_calls IS NOT NULL
            UNION ALL SELECT w.claim_calls, w.claim_per, w.claim_until WHERE w.claim_calls IS NOT NULL
        ) AS limits CROSS JOIN (
            -- Whoever cannot reach this database does not know what bunq has named meanwhile.
            SELECT max(calls) AS most FROM bunq_partner.permit_limits WHERE window_id = w.id
        ) AS known_to_all CROSS JOIN LATERAL (
            -- A call that was sent last may take 11 s to connect and to arrive.
            SELECT coalesce(sum(greatest(limits.calls, most)::bigint * percent / 100), 0)::integer AS calls
                FROM bunq_partner.permit_shares
                WHERE scope = ANY (scopes)
                AND CASE WHEN ended IS NULL THEN is_lapsed OR clock < renewed OR renewed + lease <= clock
                    ELSE clock < ended + '11 s' + limits.per END
        ) AS held_back
    LOOP
        IF a_limit.calls < 1 THEN
            turn := greatest(turn, least(opens + a_limit.per, a_limit.until));
            is_known := false;
            CONTINUE;
        END IF;
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

-- As in 0002, with the window of each permit: a permit is listed once for each of its windows. Where a restart or a failover may have lost
-- the last permits, those that are missing are held again: their calls last.
CREATE FUNCTION bunq_partner.renew_permits(p_member uuid, p_permits bigint[], p_windows text[], p_lease bigint) RETURNS bigint[]
    LANGUAGE plpgsql AS $$
DECLARE
    lease CONSTANT interval := bunq_partner.microseconds(p_lease);
    held record;
    w bunq_partner.permit_windows;
    longest interval;
    renewed bigint[];
    restored bigint[];
    lost bigint[] := '{}';
BEGIN
    FOR held IN
        SELECT name, array_agg(permit) AS permits FROM unnest(p_permits, p_windows) AS each (permit, name) GROUP BY name ORDER BY name
    LOOP
        INSERT INTO bunq_partner.permit_windows (name)
            SELECT held.name WHERE NOT EXISTS (SELECT FROM bunq_partner.permit_windows WHERE name = held.name)
            ON CONFLICT (name) DO NOTHING;
        w := bunq_partner.permit_window(held.name, lease, NULL);
        SELECT max(per) INTO longest FROM bunq_partner.permit_limits WHERE window_id = w.id;
        WITH renewing AS (
            UPDATE bunq_partner.permits SET lease_until = greatest(lease_until, w.time + lease)
                WHERE window_id = w.id AND id = ANY (held.permits) AND member = p_member
                AND settled IS NULL AND lease_until > w.time
                RETURNING id
        ) SELECT array_agg(id) INTO renewed FROM renewing;
        WITH restoring AS (
            INSERT INTO bunq_partner.permits
                SELECT w.id, permit, p_member, w.time, w.time + lease, NULL FROM unnest(held.permits) AS permit
                WHERE w.server IS NULL OR (
                    SELECT min(first_seen) + w.set_back + w.lease + '3 s' + coalesce(longest, '0') > w.time
                        FROM bunq_partner.permit_servers WHERE started = w.server
                )
                ON CONFLICT (window_id, id) DO NOTHING
                RETURNING id
        ) SELECT array_agg(id) INTO restored FROM restoring;
        lost := lost || ARRAY (SELECT unnest(held.permits) EXCEPT SELECT unnest(renewed || restored));
    END LOOP;
    RETURN ARRAY (SELECT DISTINCT unnest(lost));
END $$;
