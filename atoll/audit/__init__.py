"""The auditor's file: chosen entries of an agreement's logs with their proofs, and what can be concluded from them.

`file` is the container, `logs` checks entries and proofs, `case` puts together what they say; `authority`, `usage`,
`receipts`, `consents` and `seen` each answer a question, in plain words. Nothing here needs a node, a network or a
secret.
"""

from atoll.audit.file import SUFFIX, AuditFile, LogPart, Opening, Selected, read_audit, write_audit
from atoll.audit.verify import AuditReport, calls_in, verify_audit

__all__ = [
    "SUFFIX",
    "AuditFile",
    "AuditReport",
    "LogPart",
    "Opening",
    "Selected",
    "calls_in",
    "read_audit",
    "verify_audit",
    "write_audit",
]
