-- One event by its id, from the newest segment that has it; one: $project_id (NULL any)
SELECT replace(event_id::VARCHAR, '-', '') AS event_id, project_id, issue_id, epoch_us(timestamp) / 1e6 AS timestamp,
       epoch_us(received_at) / 1e6 AS received_at, type, level, platform, release, environment, transaction,
       server_name, user_id, message, culprit, exception_type, exception_value, title, tags, trace_id, sdk, hash,
       raw_bytes, enc, payload
FROM {segment}.events
WHERE rowid = {rowid} AND ($project_id::UBIGINT IS NULL OR project_id = $project_id)
