"""Evidence: one append-only Merkle log per agreement and signatory, in C2SP encodings, verifiable offline.

`merkle`, `tiles`, `note`, `checkpoint`, `cosignature`, `entry`, `fork` and `verify` are pure. `log`,
`replica` and `witness` work on small storage protocols, which the node implements on its database. `export`
writes and checks a copy in one file.
"""
