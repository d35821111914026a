-- Ids of events between two, to complete the beginning of one; all: $low, $high (32 hex digits), $limit
SELECT DISTINCT replace(event_id::VARCHAR, '-', '') AS event_id
FROM {events}
WHERE event_id BETWEEN $low::UUID AND $high::UUID
ORDER BY 1
LIMIT $limit
