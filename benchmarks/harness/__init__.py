"""What all benchmarks share: facts about the machine, process meters from /proc, tables and JSON lines."""
