"""Intersection of three to twenty parties: which keys all of them have, or how many."""
