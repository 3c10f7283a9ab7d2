//! Messages of a peer of the kept OPRF, to each of its machines: honest ones, changed ones, anything.
#![no_main]

use arbitrary::Arbitrary;
use atoll_primitives::stream::{Secret, Stream};
use atoll_psi::kept_messages::Message;
use atoll_psi::kept_oprf::{Asker, Evaluator};
use atoll_psi::kept_store::Store;
use atoll_psi::kept_update::{Holder, Keeper};
use atoll_psi::voprf::Key;
use atoll_psi::{Party, Refusal};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Step {
    Honest,
    Changed { at: u16, with: u8 },
    Raw(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
struct Input {
    held: u8,
    asked: u8,
    steps: Vec<Step>,
    store: Vec<u8>,
}

fn key() -> Key {
    Key::derive(&[1; 32], b"fuzz").unwrap()
}

fn stream(step: &str) -> Stream {
    Stream::new(&Secret::new([2; 32]), 0, "c", step)
}

/// Moves messages from an honest party to the one under test, changed as the steps say; true if it went wrong.
fn feed(steps: &[Step], from: &mut dyn Party, to: &mut dyn Party) -> bool {
    let mut failed = false;
    for step in steps.iter().take(24) {
        match to.next_message() {
            Ok(Some(bytes)) => _ = from.receive(&bytes),
            Ok(None) => {}
            // What a message holds may be looked into when the answer is made.
            Err(Refusal { code, .. }) => {
                assert_eq!(code, if failed { "E_STATE" } else { "E_PROTOCOL" });
                failed = true;
            }
        }
        let next = from.next_message().ok().flatten();
        let bytes = match (step, next) {
            (Step::Raw(bytes), _) => bytes.clone(),
            (Step::Honest, Some(bytes)) => bytes,
            (Step::Changed { at, with }, Some(mut bytes)) => {
                let at = usize::from(*at) % bytes.len();
                bytes[at] ^= with;
                bytes
            }
            _ => continue,
        };
        for width in [10, 16] {
            if let Ok(message) = Message::parse(&bytes, width) {
                assert_eq!(message.encode(width), bytes, "a message has two forms");
            }
        }
        match to.receive(&bytes) {
            Err(Refusal { code, .. }) if failed => assert_eq!(code, "E_STATE"),
            Err(refusal) => {
                assert_eq!(refusal.code, "E_PROTOCOL");
                failed = true;
            }
            Ok(()) => assert!(!failed, "a failed machine goes on"),
        }
    }
    assert!(!(failed && to.done()), "a failed machine is done");
    failed
}

fuzz_target!(|input: Input| {
    if let Ok(store) = Store::parse(&input.store) {
        assert_eq!(store.encode(), input.store);
    }
    let set: Vec<[u8; 32]> = (0..input.held % 6).map(|i| [i; 32]).collect();
    let mut holder = Holder::new(&key(), (0, 1), &[], &set, 10, 1).unwrap();
    let mut keeper = Keeper::new(Store::default(), 8);
    feed(&input.steps, &mut holder, &mut keeper);
    if keeper.done() {
        let store = keeper.store().unwrap();
        assert_eq!(Store::parse(&store.encode()).unwrap(), *store);
    }
    let mut holder = Holder::new(&key(), (0, 1), &[], &set, 10, 1).unwrap();
    let mut honest = Keeper::new(Store::default(), 8);
    while let Some(bytes) = holder.next_message().unwrap() {
        honest.receive(&bytes).unwrap();
    }
    let store = honest.store().unwrap().clone();
    let asked: Vec<u8> = (0..input.asked % 6).flat_map(|i| [i + 2; 32]).collect();
    let asker = || Asker::new(store.clone(), asked.clone(), stream("asker"), 2, 1).unwrap();
    let evaluator = || Evaluator::new(key(), 1, 4, stream("evaluator"), 1).unwrap();
    feed(&input.steps, &mut evaluator(), &mut asker());
    feed(&input.steps, &mut asker(), &mut evaluator());
});
