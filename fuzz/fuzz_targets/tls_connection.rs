//! A TLS connection whose peer, or the line to it, sends anything: no panic, and no handshake with a key that was not
//! pinned.
#![no_main]

use std::sync::LazyLock;

use arbitrary::Arbitrary;
use atoll_tls::{Config, Connection, Pins, Role, TlsError, fingerprint};
use libfuzzer_sys::fuzz_target;

/// 2026-11-23, within the dates that rcgen writes.
const NOW: u64 = 1_795_000_000;

struct Identity {
    certificate: Vec<u8>,
    private_key: Vec<u8>,
}

fn identity() -> Identity {
    let made = rcgen::generate_simple_self_signed(vec!["node.atoll".to_owned()]).unwrap();
    Identity {
        certificate: made.cert.der().to_vec(),
        private_key: made.signing_key.serialize_der(),
    }
}

/// Alice dials Bob; Mallory is paired with nobody.
static PARTIES: LazyLock<[Identity; 3]> = LazyLock::new(|| std::array::from_fn(|_| identity()));

fn connect(role: &Role, own: &Identity, pins: Pins) -> Connection {
    let config = Config {
        certificate: own.certificate.clone(),
        private_key: own.private_key.clone(),
        pins,
        now: NOW,
    };
    Connection::new(role, config).unwrap()
}

#[derive(Arbitrary, Debug)]
enum Change {
    None,
    Flip { at: u16, with: u8 },
    Cut { at: u16 },
    Insert { at: u16, bytes: Vec<u8> },
    Replace { bytes: Vec<u8> },
}

#[derive(Arbitrary, Debug)]
struct Input {
    mallory: bool,
    steps: Vec<(bool, Change)>,
}

fn changed(mut bytes: Vec<u8>, change: &Change) -> Vec<u8> {
    match change {
        Change::None => {}
        Change::Flip { at, with } if !bytes.is_empty() => {
            let at = usize::from(*at) % bytes.len();
            bytes[at] ^= with;
        }
        Change::Flip { .. } => {}
        Change::Cut { at } => bytes.truncate(usize::from(*at) % (bytes.len() + 1)),
        Change::Insert { at, bytes: more } => {
            let at = usize::from(*at) % (bytes.len() + 1);
            bytes.splice(at..at, more.iter().copied());
        }
        Change::Replace { bytes: other } => bytes.clone_from(other),
    }
    bytes
}

fuzz_target!(|input: Input| {
    let [alice, bob, mallory] = &*PARTIES;
    let dialer = if input.mallory { mallory } else { alice };
    let name = Role::Client { server_name: "node.atoll".to_owned() };
    let only = |of: &Identity| Pins::Only(vec![fingerprint(&of.certificate)]);
    let mut sides = [connect(&name, dialer, only(bob)), connect(&Role::Server, bob, only(alice))];
    let mut failed = [false; 2];
    for (from, change) in input.steps.iter().take(16) {
        let from = usize::from(*from);
        let mut bytes = Vec::new();
        sides[from].outgoing(&mut bytes).unwrap();
        let to = 1 - from;
        let taken = sides[to].receive::<TlsError>(&changed(bytes, change), |_| Ok(()));
        assert!(!failed[to] || taken.is_err(), "a failed connection goes on");
        failed[to] |= taken.is_err();
    }
    let [client, server] = &sides;
    if !client.handshaking() && !failed[0] {
        assert_eq!(client.peer_fingerprint(), Some(fingerprint(&bob.certificate)));
    }
    if !server.handshaking() && !failed[1] {
        assert!(!input.mallory, "a key that is not pinned came in");
        assert_eq!(server.peer_fingerprint(), Some(fingerprint(&alice.certificate)));
    }
});
