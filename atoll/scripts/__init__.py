"""Visiting scripts as documents: package, manifest, what may leave, and what a review finds out. Pure."""
