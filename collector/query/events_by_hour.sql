-- Stored events by hour and level; all: $project_id (NULL all), $since (seconds)
SELECT epoch_us(date_trunc('hour', received_at)) // 1000000 AS hour, level, count(*) AS count
FROM {events}
WHERE received_at >= make_timestamp(($since * 1000000)::BIGINT)
  AND ($project_id::UBIGINT IS NULL OR project_id = $project_id)
GROUP BY 1, 2
ORDER BY 1, 2
