-- The events of an issue before and after one of them; all: $issue_id, $timestamp (seconds), $event_id
SELECT replace(arg_max(event_id, (timestamp, event_id)) FILTER (here < 0)::VARCHAR, '-', '') AS previous,
       replace(arg_min(event_id, (timestamp, event_id)) FILTER (here > 0)::VARCHAR, '-', '') AS next
FROM (SELECT event_id, timestamp,
             CASE WHEN (timestamp, event_id) < (make_timestamp(($timestamp * 1000000)::BIGINT), $event_id::UUID) THEN -1
                  WHEN event_id = $event_id::UUID THEN 0 ELSE 1 END AS here
      FROM {events} WHERE issue_id = $issue_id)
