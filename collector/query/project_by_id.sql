-- Slug of a project; state: $project_id
SELECT slug FROM projects WHERE id = $project_id
