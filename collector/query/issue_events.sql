-- Events of an issue, the newest first, before a time; newest: $issue_id, $before (seconds), $level (NULL any), $limit
SELECT rowid, epoch_us(timestamp)
FROM {segment}.events
WHERE issue_id = $issue_id AND timestamp < make_timestamp(($before * 1000000)::BIGINT)
  AND ($level::VARCHAR IS NULL OR level = $level)
ORDER BY timestamp DESC, rowid DESC
LIMIT $limit
