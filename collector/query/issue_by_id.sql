-- One issue by its number or its short id in any case; state: $id (NULL when by short id), $short_id
SELECT id, short_id, project_id, hash, title, culprit, level, status, count, users, first_seen, last_seen
FROM issues
WHERE id = $id OR ($id IS NULL AND short_id = upper($short_id))
LIMIT 1
