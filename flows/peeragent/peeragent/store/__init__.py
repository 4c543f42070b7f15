"""Where tasks and sessions are kept."""
