"""What belongs to a session, beyond a single run of it."""
