-- The sessions of users that each client has waiting, so that all know what the others have admitted.

-- One row for each client and window of sessions. Times are those of the window.
CREATE TABLE bunq_partner.session_queue (
    window_id bigint NOT NULL REFERENCES bunq_partner.permit_windows ON DELETE CASCADE,
    client uuid NOT NULL,
    -- The number of the announcement: an older one may come later.
    number bigint NOT NULL,
    -- When each session must be open at the latest.
    deadlines timestamptz[] NOT NULL,
    -- The same of one that may be added; NULL: there is none.
    candidate timestamptz,
    -- After this the client is gone.
    lease_until timestamptz NOT NULL,
    PRIMARY KEY (window_id, client)
);

-- Replaces what a client has announced, and returns what the others have. `not_before`: when the windows have room.
CREATE FUNCTION bunq_partner.announce_sessions(
    p_client uuid, p_windows text[], p_per bigint, p_number bigint, p_deadlines bigint[], p_candidate bigint, p_lease bigint,
    OUT deadlines bigint[], OUT candidates bigint[], OUT not_before bigint
) LANGUAGE plpgsql AS $$
DECLARE
    length CONSTANT interval := bunq_partner.microseconds(p_per);
    a_window text;
    w bunq_partner.permit_windows;
    seen uuid[] := ARRAY[p_client];
    other record;
BEGIN
    deadlines := '{}';
    candidates := '{}';
    not_before := 0;
    FOR a_window IN SELECT unnest(p_windows) ORDER BY 1 LOOP
        INSERT INTO bunq_partner.permit_windows (name)
            SELECT a_window WHERE NOT EXISTS (SELECT FROM bunq_partner.permit_windows WHERE name = a_window)
            ON CONFLICT (name) DO NOTHING;
        w := bunq_partner.permit_window(a_window, NULL, length);
        DELETE FROM bunq_partner.session_queue WHERE window_id = w.id AND lease_until <= w.time;
        INSERT INTO bunq_partner.session_queue AS known VALUES (
            w.id, p_client, p_number,
            ARRAY (SELECT w.time + bunq_partner.microseconds(deadline) FROM unnest(p_deadlines) AS deadline),
            w.time + bunq_partner.microseconds(p_candidate), w.time + bunq_partner.microseconds(p_lease)
        ) ON CONFLICT (window_id, client) DO UPDATE SET
            number = excluded.number, deadlines = excluded.deadlines, candidate = excluded.candidate,
            lease_until = excluded.lease_until
            WHERE known.number < excluded.number;
        -- A client may be in both windows.
        FOR other IN SELECT * FROM bunq_partner.session_queue WHERE window_id = w.id AND client <> ALL (seen) LOOP
            seen := seen || other.client;
            deadlines := deadlines || ARRAY (
                SELECT ceil(extract(epoch FROM deadline - w.time) * 1000000)::bigint FROM unnest(other.deadlines) AS deadline
            );
            IF other.candidate IS NOT NULL THEN
                candidates := candidates || ceil(extract(epoch FROM other.candidate - w.time) * 1000000)::bigint;
            END IF;
        END LOOP;
        not_before := greatest(
            not_before, ceil(extract(epoch FROM (bunq_partner.permit_turn(w, 0)).turn - w.time) * 1000000)::bigint
        );
    END LOOP;
END $$;
