"""Time travel in the dashboard: fork, resume, compare, replay, share."""
