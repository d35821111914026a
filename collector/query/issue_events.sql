-- Events of an issue, the newest first, before a time; all: $issue_id, $before (seconds), $level (NULL any), $limit
SELECT replace(event_id::VARCHAR, '-', '') AS event_id, project_id, epoch_us(timestamp) / 1e6 AS timestamp, level,
       release, environment, user_id, title, tags
FROM {events}
WHERE issue_id = $issue_id AND timestamp < make_timestamp(($before * 1000000)::BIGINT)
  AND ($level::VARCHAR IS NULL OR level = $level)
ORDER BY timestamp DESC, event_id DESC
LIMIT $limit
