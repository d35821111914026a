-- Oldest and newest stored event of an issue; all: $issue_id
SELECT replace(arg_min(event_id, timestamp)::VARCHAR, '-', '') AS oldest,
       replace(arg_max(event_id, timestamp)::VARCHAR, '-', '') AS newest, count(*) AS stored
FROM {events}
WHERE issue_id = $issue_id
