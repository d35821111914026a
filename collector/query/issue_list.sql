-- Issues, the last seen first, with events per hour of the last 24; state: $project_id (NULL all), $status (NULL all), $text (LIKE pattern, NULL all), $now, $limit, $offset
SELECT i.id, i.short_id, i.project_id, i.title, i.culprit, i.level, i.status, i.count, i.users, i.first_seen,
       i.last_seen,
       (SELECT json_group_array(json_array(h.hour, h.count)) FROM issue_hours h
        WHERE h.issue_id = i.id AND h.hour > $now - 86400) AS hours
FROM issues i
WHERE ($project_id IS NULL OR i.project_id = $project_id)
  AND ($status IS NULL OR i.status = $status)
  AND ($text IS NULL OR i.title LIKE $text OR i.culprit LIKE $text)
ORDER BY i.last_seen DESC, i.id DESC
LIMIT $limit OFFSET $offset
