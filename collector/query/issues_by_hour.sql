-- Events per issue and hour over everything, from the roll-up that commits keep, as [[hour, count], ...]; state: $since (seconds)
SELECT issue_id, json_group_array(json_array(hour, count)) AS hours
FROM issue_hours
WHERE hour >= $since
GROUP BY issue_id
