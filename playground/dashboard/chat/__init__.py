"""Talking to what can be talked to: sessions, turns as they stream, questions and their answers."""
