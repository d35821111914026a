-- Stored events per issue and hour over everything; all: $since (seconds)
SELECT issue_id, epoch(time_bucket(INTERVAL 1 HOUR, received_at))::BIGINT AS hour, count(*) AS count
FROM {events}
WHERE received_at >= make_timestamp(($since * 1000000)::BIGINT)
GROUP BY 1, 2
ORDER BY 2, 1
