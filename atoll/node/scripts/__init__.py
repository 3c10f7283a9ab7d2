"""Visiting scripts at a node: packages published, reviewed and deployed; calls, decisions, events."""
