-- What came in and what became of it, by hour, category and reason; state: $project_id (NULL all), $since (seconds)
SELECT minute / 3600 * 3600 AS hour, category, outcome, reason, sum(quantity) AS quantity
FROM outcomes
WHERE minute >= $since AND ($project_id IS NULL OR project_id = $project_id)
GROUP BY 1, 2, 3, 4
ORDER BY 1, 2, 3, 4
