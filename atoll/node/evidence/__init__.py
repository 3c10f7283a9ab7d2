"""What stays provable afterwards: logs, their copies and witnesses, recovery, statements, audits, replays."""
