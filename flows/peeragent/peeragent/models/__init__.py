"""What goes in and out: requests, results of agents, tasks and sessions."""
