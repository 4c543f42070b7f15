"""Watching runs: waterfall, live graph, model calls, streams, statistics, notices and the tour."""
