-- $1 T, $2 and $3 begin and end of the period, $4 to $7 the runs of amount_differs, duplicate_posting, approved_not_posted
-- and approved_not_paid. Of what was approved, and then of what was posted in the period: every cell.
WITH approval AS (
    SELECT e.document, d.component, max(e.occurred_at) FILTER (WHERE e.type = 'expense_report.final_approved') AS at,
           max(e.occurred_at) FILTER (WHERE e.type IN ('expense_report.sent_back', 'expense_report.rejected',
                                                       'expense_report.withdrawn', 'expense_report.resubmitted')) AS undone_at,
           (array_agg(e.amount_minor ORDER BY e.occurred_at DESC) FILTER (WHERE e.type = 'expense_report.final_approved'))[1] AS minor,
           (array_agg(e.amount_minor ORDER BY e.occurred_at DESC) FILTER (WHERE e.amount_minor IS NOT NULL
                                                   AND e.type <> 'expense_report.reimbursable_reduced'))[1] AS claimed,
           -sum(e.amount_minor) FILTER (WHERE e.type = 'expense_report.reimbursable_reduced') AS less
    FROM tieout.event e JOIN tieout.document d ON d.id = e.document
    WHERE e.type LIKE 'expense_report.%' AND e.type <> 'expense_report.status_returned' AND e.occurred_at <= $1
      AND e.occurred_at > $2::timestamptz - interval '30 days'
    GROUP BY e.document, d.component),
posted AS (
    SELECT d.component, max(x.at) AS at, sum(x.minor) FILTER (WHERE x.stands) AS minor, bool_or(x.stands) AS stands,
           (array_agg(x.minor ORDER BY x.at DESC))[1] AS last_minor
    FROM (SELECT e.document, max(e.occurred_at) FILTER (WHERE e.type = 'journal.posted') AS at,
                 min(e.amount_minor) FILTER (WHERE e.type = 'journal.posted') AS minor,
                 max(e.occurred_at) FILTER (WHERE e.type = 'journal.posted')
                     > coalesce(max(e.occurred_at) FILTER (WHERE e.type = 'journal.reversed'), '-infinity') AS stands
          FROM tieout.event e WHERE e.type IN ('journal.posted', 'journal.reversed') AND e.occurred_at <= $1
            AND e.occurred_at > $2::timestamptz - interval '30 days' GROUP BY e.document) x
    JOIN tieout.document d ON d.id = x.document GROUP BY d.component),
paid AS (
    SELECT d.component, sum(e.amount_minor) AS minor FROM tieout.event e JOIN tieout.document d ON d.id = e.document
    WHERE e.type = 'payment.settled' AND e.occurred_at <= $1 AND e.occurred_at > $2::timestamptz - interval '30 days' GROUP BY d.component),
reported AS MATERIALIZED (
    SELECT d.component, e.run, sum(e.difference_minor) AS minor FROM tieout.control_exception e
    JOIN tieout.document d ON d.content_id = e.subject
    WHERE e.run IN ($4, $5, $6, $7) GROUP BY d.component, e.run),
item AS (
    SELECT 'posted' AS hop, a.minor AS from_minor, a.undone_at > a.at AS undone, a.minor <> a.claimed AS changed, 'rejected_or_withdrawn' AS not_owed,
           CASE WHEN p.stands THEN p.minor END AS to_minor, a.less, -amounts.minor AS wrong, -twice.minor AS twice, 'not_posted' AS control,
           missing.component IS NOT NULL AS missing,
           $1 <= (SELECT b.closes_at FROM tieout.business_day b WHERE b.day > (a.at AT TIME ZONE 'Europe/Berlin' + interval '6 hours')::date
                  AND b.day < (a.at AT TIME ZONE 'Europe/Berlin' + interval '20 days')::date ORDER BY b.day LIMIT 1) AS in_time
    FROM approval a LEFT JOIN posted p ON p.component = a.component
    LEFT JOIN reported amounts ON amounts.run = $4 AND amounts.component = a.component
    LEFT JOIN reported twice ON twice.run = $5 AND twice.component = a.component
    LEFT JOIN reported missing ON missing.run = $6 AND missing.component = a.component
    WHERE a.at >= $2 AND a.at < $3
    UNION ALL
    SELECT 'paid', coalesce(p.minor, p.last_minor), NOT p.stands, false, 'reversed', y.minor, NULL, NULL, twice.minor, 'not_paid',
           missing.component IS NOT NULL, $1 <= a.at + interval '30 days'
    FROM posted p JOIN approval a ON a.component = p.component LEFT JOIN paid y ON y.component = p.component
    LEFT JOIN reported twice ON twice.run = $5 AND twice.component = p.component
    LEFT JOIN reported missing ON missing.run = $7 AND missing.component = p.component
    WHERE p.at >= $2 AND p.at < $3),
placed AS (
    SELECT i.*, CASE WHEN undone THEN not_owed WHEN to_minor IS NOT NULL THEN 'to' WHEN missing THEN 'exceptions:' || control
                     WHEN changed THEN not_owed WHEN in_time THEN 'in_transit' ELSE 'unexplained' END AS class FROM item i)
SELECT hop AS "to", cell, sum(n)::bigint AS count, sum(minor)::bigint AS amount_minor
FROM placed CROSS JOIN LATERAL (VALUES
    ('from', 1, from_minor),
    (class, 1, CASE WHEN class = 'to' THEN to_minor WHEN undone THEN from_minor ELSE from_minor - coalesce(twice, 0) END),
    ('components', 0, CASE class WHEN 'to' THEN less END),
    ('exceptions:amounts', 0, CASE class WHEN 'to' THEN wrong END),
    ('exceptions:twice', 0, CASE WHEN undone IS NOT TRUE THEN twice END),
    ('unexplained', 0, CASE class WHEN 'to' THEN from_minor - to_minor - coalesce(less, 0) - coalesce(wrong, 0) - coalesce(twice, 0) END)
    ) v(cell, n, minor) WHERE n = 1 OR minor <> 0 GROUP BY hop, cell
