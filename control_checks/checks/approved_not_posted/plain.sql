-- $1 flow, $2 T, $3 K, $4 parameters. Approved, and posted once, for what was claimed throughout.
SELECT component, plain AND even AND amount_minor <> 0
                  AND stands_at >= coalesce(($4::jsonb ->> 'go_live')::timestamptz, '-infinity') AS settled,
       1 AS items, amount_minor, currency
FROM read.plain($1, $2, $3, $4::jsonb ->> 'approved', ARRAY[$4::jsonb ->> 'posted'])
