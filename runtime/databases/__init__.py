"""Databases that actions may use: one transaction a session, one savepoint a step."""
