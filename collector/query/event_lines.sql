-- What a list of events of an issue shows of each (user_id would cost 6 ms a segment, more than all others together); rows: $issue_id
SELECT rowid, replace(event_id::VARCHAR, '-', '') AS event_id, project_id, epoch_us(timestamp) / 1e6 AS timestamp, level,
       release, environment, title, tags
FROM {segment}.events
WHERE issue_id = $issue_id AND rowid BETWEEN {first} AND {last}
