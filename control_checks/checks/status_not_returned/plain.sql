-- $1 flow, $2 T, $3 K, $4 parameters. Done once, and shown once as what it is.
SELECT x.component, x.of = 1 AND x.shown = 1 AND x.undone = 0 AND t.component IS NULL
           AND x.own = x.shown_number AND coalesce(x.year = x.shown_year, x.year IS NULL)
           AND $4::jsonb -> 'statuses' ? x.status AS settled,
       1 AS items, x.amount_minor, x.currency
FROM (SELECT e.component, count(*) FILTER (WHERE m.is_of) AS of, count(*) FILTER (WHERE m.is_shown) AS shown,
             count(*) FILTER (WHERE m.is_undone OR (m.is_of AND m.is_shown)) AS undone,
             min(ltrim(lower(n.number), '0')) FILTER (WHERE m.is_of) AS own,
             min(coalesce(e.body -> 'accounting' ->> 'fiscal_year', e.body -> 'attributes' ->> 'fiscal_year')) FILTER (WHERE m.is_of) AS year,
             min(ltrim(lower(e.body -> 'attributes' ->> ($4::jsonb ->> 'number')), '0')) FILTER (WHERE m.is_shown) AS shown_number,
             min(coalesce(e.body -> 'attributes' ->> ($4::jsonb ->> 'year'), e.body -> 'accounting' ->> ($4::jsonb ->> 'year'))) FILTER (WHERE m.is_shown) AS shown_year,
             min(e.body ->> 'status') FILTER (WHERE m.is_shown) AS status,
             min(e.amount_minor) FILTER (WHERE m.is_of) AS amount_minor, min(e.currency) FILTER (WHERE m.is_of) AS currency
      FROM read.present_event e
      JOIN (SELECT type, bool_or(step = $4::jsonb ->> 'of' AND side = 'done_by') AS is_of,
                   bool_or(step = $4::jsonb ->> 'returned' AND side = 'done_by') AS is_shown, bool_or(side = 'undone_by') AS is_undone
            FROM read.step_type($1, $3) WHERE step IN ($4::jsonb ->> 'of', $4::jsonb ->> 'returned') AND side IN ('done_by', 'undone_by')
            GROUP BY type) m ON m.type = e.type
      LEFT JOIN read.present_number n ON n.document = e.document
      WHERE e.occurred_at <= $2 GROUP BY e.component) x
LEFT JOIN (SELECT DISTINCT component FROM read.entangled) t ON t.component = x.component
