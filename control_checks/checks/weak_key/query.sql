-- $1 flow, $2 T, $3 K, $4 parameters, $5 documents (NULL: all)
WITH p AS MATERIALIZED (SELECT $1::text, $2::timestamptz, $4::jsonb AS p, read.configuration($3) AS c),
name AS MATERIALIZED (  -- what identifies documents: their own name, and what joins them with others
    SELECT d.document, d.document_id AS name_id, d.kind, d.number AS value FROM read.documents($3, $5) d
    UNION ALL
    SELECT n.document, n.name_id, n.kind, n.value FROM read.names($3, $5) n WHERE n.role = 1),
key AS MATERIALIZED (
    SELECT name_id, count(*) AS documents, min(kind) AS kind, min(value) AS value FROM name GROUP BY name_id HAVING count(*) > 1),
measured AS (
    SELECT k.*, coalesce(c -> 'kinds' -> k.kind ->> 'max_documents', c -> 'limits' ->> 'max_documents')::bigint AS most
    FROM key k, p WHERE p.p -> 'kinds' = '[]' OR p.p -> 'kinds' ? k.kind),
largest AS (  -- of the keys of those that one transaction cannot hold, the one that names the most
    SELECT DISTINCT ON (component) component, name_id, within FROM (
        SELECT s.component, m.name_id, m.value, count(*) AS of_these, s.within
        FROM (SELECT s.*, count(*) OVER (PARTITION BY component) AS within FROM read.suspended($3) s) s
        JOIN name n ON n.document = s.document
        JOIN measured m ON m.name_id = n.name_id AND m.documents <= m.most GROUP BY 1, 2, 3, 5) x
    ORDER BY component, of_these DESC, value, name_id)
SELECT m.name_id AS subject, m.value AS number, NULL::text AS entity, NULL::bigint AS amount_minor, NULL::text AS currency,
       CASE WHEN m.documents > m.most OR l.component IS NOT NULL THEN 'breach' ELSE 'ok' END AS finding,
       CASE WHEN m.documents > m.most THEN 'TOO_MANY' WHEN l.component IS NOT NULL THEN 'TOO_LARGE' ELSE '' END AS reason,
       'presence' AS proof, ARRAY[]::text[] AS missing, NULL::timestamptz AS basis_at, NULL::timestamptz AS since_at,
       NULL::timestamptz AS due_at, 'at most ' || m.most || ' documents' AS expected, m.documents || ' documents' AS actual,
       NULL::bigint AS difference_minor,
       jsonb_build_object('kind', m.kind, 'documents', m.documents, 'limit', m.most, 'within', l.within) AS details
FROM measured m LEFT JOIN largest l ON l.name_id = m.name_id
ORDER BY m.value, m.name_id
