"""Debugging in the dashboard: runs that have stopped, where runs stop, and what is changed meanwhile."""
