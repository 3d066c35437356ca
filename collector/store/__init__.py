"""The only place that speaks SQL on the write path, and the embedded PostgreSQL that serves it."""
