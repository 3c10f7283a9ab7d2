"""Worker processes: each runs one job's side of the protocols, apart from the node's keys and state."""
