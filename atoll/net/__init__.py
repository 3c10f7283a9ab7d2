"""Everything that opens a socket to a peer: identity, pairing, TLS, links between nodes, sessions of workers.

Threads and blocking sockets throughout, so that the same code runs in a node and in a worker process.
Import from the modules; these are the names that callers need.

identity
    `TlsIdentity(certificate: bytes, private_key: bytes, not_before, not_after)`, `.fingerprint` = "sha256:…"
    `ephemeral_tls(now, days=30) -> TlsIdentity`: a worker's certificate, in memory only
    `NodeKeys.create(folder, passphrase, now) / NodeKeys.load(folder, passphrase)`: `.signing` (SigningKey),
    `.tls` (TlsIdentity), `.identity` ("ed25519:…")
    `key_statement(keys, name, address, now) -> Envelope`, `read_key_statement(envelope, now) -> KeyStatement`
    `KeyStatement(name, identity, tls, address, issued, not_after, envelope)`
dial
    `dial(address, timeout=5.0) -> socket`, `parse_address("host:port") -> (host, port)`
listener
    `Listener(host, port, on_control, on_pair, log=…)`: `.start()`, `.address` ("host:port" bound),
    `.route(name, callback)`, `.unroute(name)`, `.stop()`, `.counters() -> dict[str, int]`
    `job_name() -> "<32 hex>.job.atoll"`
handover
    `send_socket(unix, sock)`, `receive_socket(unix) -> socket`: an accepted connection to another process
link
    `Local(keys, name, address, handlers, admit, log, clock, silence_seconds=10.0)`: a node's own part
    `Admit = Callable[[str identity, str tls, KeyStatement, "control" | "pair"], None]` (raises to refuse)
    `Handler = Callable[[Peer, Any], Any]`
    `Peer(identity, name, tls, address, statement, dialed, purpose, mine, binding)`
    `Link`: `.request(verb, body, timeout=30.0) -> Any`, `.close(reason: AtollError | None)`, `.alive`,
    `.peer`, `.reason`, `.on_close(watcher)`
    `open_link(sock, local, tls_pin, purpose="control") -> Link`, `accept_link(sock, local, purpose) -> Link`
peers
    `LinkManager(local)`: `.start()`, `.stop()`, `.add(identity, tls, address)`, `.accept(sock)`,
    `.disconnect(identity, reason)`, `.link(identity, timeout=…) -> Link`,
    `.request(identity, verb, body, timeout=30.0) -> Any`, `.connected() -> dict[str, Peer]`
pairing (pure; no socket)
    `Invite.create(name, address, identity, tls, now, hours=24)`, `.to_line()`, `Invite.parse(line)`
    `OpenInvite(invite, failures=0, state="open")`, `.to_json()`, `OpenInvite.from_json(…)`:
    the inviter's record
    dialer:  `commit(invite, mine, theirs, binding, now) -> (Committed, message)`, then
             `open_commitment(committed, reply) -> (PendingPair, message)`
    inviter: `answer(open_invite, mine, theirs, binding, message, now) -> (Answered, reply)`, then
             `finish(answered, message) -> PendingPair`
    `PendingPair`: `.peer` (KeyStatement), `.id`, `.words(language) -> str`, `.check(words) -> None`
    (`E_WORDS`), `.confirm(words) -> PendingPair`, `.confirm_message()`, `.receive_confirm(message) ->
    PendingPair`, `.active`, `.to_json()`/`.from_json()`; values are frozen: store what a call
    returns. `binding` is `peer.binding`, `mine` is `peer.mine`, `theirs` is `peer.statement` of the link's `Peer`
    (the first argument of a handler); `invite_id(message)` finds the inviter's record
session, channel
    `Session(me, peer, job, attempt, connect, tls, pinned, clock=…, silence_seconds=10.0, grace_seconds=None,
    journal=None, position=None, tap=None)`, `.start()`, `.channel(name) -> Channel`, `.abort(error)`,
    `.close()`, `.transcripts()`, `.position()`, `.checkpointed(position)`
    `connect: Callable[[], tuple[socket, str | None]]`: a socket and the server name (the peer worker's
    `job_name()`) on the side that dialed, None on the side that accepted; called again after a drop; it
    blocks at most about a second at a time and raises `E_UNREACHABLE` when it has nothing yet
    `Channel`: `.send(payload, step)`, `.recv(timeout=None) -> bytes`, `.receive(timeout=None) -> (step,
    bytes)`, `.readable()`, `.writable()`, `.wait(read, write, timeout=None)`
"""
