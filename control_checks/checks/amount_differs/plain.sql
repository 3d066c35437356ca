-- $1 flow, $2 T, $3 K, $4 parameters. Every compared step is done, and all state one amount.
WITH pair AS MATERIALIZED (SELECT * FROM read.comparisons($1, $3) WHERE grain = 'case'),
first AS MATERIALIZED (SELECT left_step FROM pair ORDER BY ordinal LIMIT 1)
SELECT component, plain AND even AS settled, (SELECT count(*) FROM pair)::int AS items, amount_minor, currency
FROM read.plain($1, $2, $3, (SELECT left_step FROM first), ARRAY(
    SELECT left_step FROM pair UNION SELECT right_step FROM pair EXCEPT SELECT left_step FROM first ORDER BY 1))
