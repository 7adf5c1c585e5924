"""The background process that owns queue and jobs, its client, and the launcher of one job."""
