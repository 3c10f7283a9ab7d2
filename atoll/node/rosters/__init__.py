"""Rosters of consortia at one node: what is kept, what accepting a version changes, what is said of it."""
