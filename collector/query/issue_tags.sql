-- How often each tag of an issue has each value, at most $limit values a tag; all: $issue_id, $limit
SELECT key, value, count
FROM (SELECT key, tags->>('$."' || replace(key, '"', '\"') || '"') AS value, count(*) AS count,
             row_number() OVER (PARTITION BY key ORDER BY count(*) DESC, value) AS place
      FROM (SELECT tags, unnest(json_keys(tags)) AS key FROM {events} WHERE issue_id = $issue_id)
      GROUP BY 1, 2)
WHERE place <= $limit
ORDER BY key, place
