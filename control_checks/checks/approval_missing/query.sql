-- $1 flow, $2 T, $3 K, $4 parameters, $5 documents (NULL: all)
WITH p AS (SELECT $4::jsonb AS p),
s AS MATERIALIZED (
    SELECT s.* FROM p, read.steps($1, $2, $3, p_steps => ARRAY[p.p ->> 'commitment', p.p ->> 'approved'], p_documents => $5) s),
ev AS MATERIALIZED (SELECT * FROM read.flow_events($1, $2, $3, $5)),
side AS MATERIALIZED (SELECT t.side, t.type FROM p CROSS JOIN read.step_type($1, $3) t WHERE t.step = p.p ->> 'approved'),
committed AS MATERIALIZED (
    SELECT s.* FROM s, p WHERE s.step = p.p ->> 'commitment' AND s.done_at IS NOT NULL),
act AS MATERIALIZED (
    SELECT c.anchor, c.done_at AS committed_at, side.side, e.type, e.occurred_at, e.rank,
           e.body ->> 'actor' AS actor, e.amount_minor, e.currency
    FROM committed c CROSS JOIN p
    JOIN ev e ON e.document = c.anchor
    JOIN side ON side.type = e.type
    WHERE NOT (p.p -> 'automatic' ? e.type)  -- a policy approves if it is cited, with its version
       OR (e.body -> 'attributes' ->> 'policy' IS NOT NULL AND e.body -> 'attributes' ->> 'policy_version' IS NOT NULL)),
tested AS (
    SELECT a.anchor,
           max(a.rank) FILTER (WHERE a.side = 'done_by' AND a.occurred_at <= a.committed_at) AS approved,
           max(a.rank) FILTER (WHERE a.side = 'undone_by' AND a.occurred_at <= a.committed_at) AS undone,
           max(a.occurred_at) FILTER (WHERE a.side = 'done_by' AND a.occurred_at <= a.committed_at) AS approved_at,
           min(a.occurred_at) FILTER (WHERE a.side = 'done_by' AND a.occurred_at > a.committed_at) AS approved_later_at,
           (array_agg(a.type ORDER BY a.rank DESC)
               FILTER (WHERE a.side = 'undone_by' AND a.occurred_at <= a.committed_at))[1] AS undone_type,
           max(a.occurred_at) FILTER (WHERE a.side = 'undone_by' AND a.occurred_at <= a.committed_at) AS undone_at,
           (array_agg(a.actor ORDER BY a.rank DESC) FILTER (WHERE a.side = 'done_by'))[1] AS approver,
           (array_agg(a.amount_minor ORDER BY a.rank DESC)
               FILTER (WHERE a.side = 'done_by' AND a.occurred_at <= a.committed_at))[1] AS approved_minor,
           (array_agg(a.currency ORDER BY a.rank DESC)
               FILTER (WHERE a.side = 'done_by' AND a.occurred_at <= a.committed_at))[1] AS approved_currency
    FROM act a GROUP BY a.anchor),
claimed AS (  -- the amount when it was committed, and since when
    SELECT DISTINCT ON (e.document) e.document AS anchor, e.amount_minor, e.currency, e.rank, e.occurred_at
    FROM ev e JOIN committed c ON c.anchor = e.document
    WHERE e.amount_minor IS NOT NULL AND e.occurred_at <= c.done_at ORDER BY e.document, e.rank DESC),
submitter AS (
    SELECT e.document AS anchor, (array_agg(e.body ->> 'actor' ORDER BY e.rank DESC))[1] AS person,
           (array_agg(e.body -> 'attributes' ->> (p.p ->> 'beneficiary') ORDER BY e.rank DESC))[1] AS beneficiary
    FROM ev e JOIN p ON p.p -> 'submitted' ? e.type GROUP BY e.document),
begun AS MATERIALIZED (  -- no approval precedes the step that it comes after
    SELECT e.component, min(e.occurred_at) AS at
    FROM ev e WHERE e.type IN (
        SELECT t.type FROM read.step_type($1, $3) t WHERE t.side = 'done_by' AND t.step = (
            SELECT a.after_step FROM s a, p WHERE a.step = p.p ->> 'approved' LIMIT 1))
    GROUP BY e.component),
last_step AS (
    SELECT DISTINCT ON (e.document) e.document AS anchor, coalesce(e.body ->> 'status', e.type) AS last
    FROM ev e JOIN committed c ON c.anchor = e.document
    WHERE e.occurred_at < c.done_at ORDER BY e.document, e.rank DESC),
item AS (
    SELECT c.document_id, c.number, c.entity, c.amount_minor, c.currency, c.status, c.done_at, c.title,
           t.approved_at, t.approved_later_at, l.last, t.undone_type, x.changed,
           CASE WHEN x.changed THEN m.occurred_at ELSE t.undone_at END AS undone_at,
           coalesce(CASE WHEN x.changed THEN m.occurred_at ELSE t.undone_at END,
                    CASE WHEN b.at <= c.done_at THEN b.at END) AS since_at,
           coalesce(t.approved > coalesce(t.undone, 0), false) AND NOT x.changed AS effective,
           t.approved_later_at <= c.done_at + make_interval(mins => (p.p ->> 'grace_minutes')::int) AS in_grace,
           x.self_tested AND NOT p.p -> 'system_users' ? t.approver
               AND (t.approver = n.person OR t.approver = n.beneficiary) AS self,
           x.self_tested AND (t.approver IS NULL OR n.person IS NULL) AS nobody
    FROM committed c CROSS JOIN p
    LEFT JOIN tested t ON t.anchor = c.anchor LEFT JOIN submitter n ON n.anchor = c.anchor
    LEFT JOIN claimed m ON m.anchor = c.anchor
    LEFT JOIN last_step l ON l.anchor = c.anchor LEFT JOIN begun b ON b.component = c.component
    CROSS JOIN LATERAL (SELECT
        p.p -> 'sub_tests' ? 'self' AS self_tested,
        coalesce(m.rank > t.approved
            AND (m.amount_minor, m.currency) <> (t.approved_minor, t.approved_currency), false) AS changed) x)
SELECT document_id AS subject, number, entity, amount_minor, currency,
       CASE WHEN status = 'UNEVALUABLE' THEN 'unevaluable'
            WHEN NOT effective AND NOT coalesce(in_grace, false) THEN 'breach'
            WHEN self THEN 'breach'
            WHEN nobody THEN 'unevaluable'
            ELSE 'ok' END AS finding,
       CASE WHEN status = 'UNEVALUABLE' THEN 'SEVERAL_ANCHORS'
            WHEN NOT effective AND NOT coalesce(in_grace, false) THEN
                CASE WHEN approved_later_at IS NOT NULL THEN 'AFTER_COMMIT'
                     WHEN approved_at IS NULL THEN 'NONE'
                     WHEN changed THEN 'SUPERSEDED_BY_CHANGE'
                     WHEN split_part(undone_type, '.', 2) = ANY (ARRAY(
                         SELECT jsonb_array_elements_text(p.p -> 'changes'))) THEN 'SUPERSEDED_BY_CHANGE'
                     ELSE 'REJECTED_AFTER' END
            WHEN self THEN 'SELF'
            WHEN nobody THEN 'PERSON_UNKNOWN'
            ELSE '' END AS reason,
       CASE WHEN self AND effective THEN 'presence' ELSE 'absence' END AS proof,
       ARRAY[p.p ->> 'approved'] AS missing, done_at AS basis_at, since_at, done_at AS due_at,
       'an effective final approval before the commitment' AS expected,
       CASE WHEN approved_later_at IS NOT NULL THEN 'approved later' WHEN approved_at IS NULL THEN 'none'
            WHEN NOT effective THEN 'undone before' ELSE 'approved by the submitter' END AS actual,
       NULL::bigint AS difference_minor,
       jsonb_build_object('committed_at', done_at, 'commitment', title, 'approved_at', approved_at,
                          'approved_later_at', approved_later_at, 'undone_at', undone_at,
                          'last', last) AS details
FROM item, p ORDER BY number, document_id
