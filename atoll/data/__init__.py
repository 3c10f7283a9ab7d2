"""The owner's tables: sources, schemas, snapshots and what is read from them. Nothing here talks to a peer.

`sources.open_source` opens a file or an in-memory table, `snapshot.create` makes it a committed version of an
asset, `read.read`, `read.take` and `read.group_sums` are what jobs read, `profile.profile` is for the owner's
eyes, `changes.count_changes` counts the keys that differ between two versions.
"""
