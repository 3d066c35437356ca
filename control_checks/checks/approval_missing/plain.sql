-- $1 flow, $2 T, $3 K, $4 parameters. Committed once, after a person approved it for the last time, for what was
-- claimed throughout. Who approved is looked at with the rest.
SELECT component, plain AND even AND stands_at <= last_at AND NOT $4::jsonb -> 'sub_tests' ? 'self' AS settled,
       1 AS items, amount_minor, currency
FROM read.plain($1, $2, $3, $4::jsonb ->> 'approved', ARRAY[$4::jsonb ->> 'commitment'],
                ARRAY(SELECT jsonb_array_elements_text($4::jsonb -> 'automatic')))
