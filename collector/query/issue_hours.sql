-- Events of one issue by hour; state: $issue_id, $since (seconds)
SELECT hour, count FROM issue_hours WHERE issue_id = $issue_id AND hour >= $since ORDER BY hour
