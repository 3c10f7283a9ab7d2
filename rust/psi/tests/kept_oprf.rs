//! The kept OPRF against sets, and against peers that cheat.

use std::collections::BTreeSet;

use atoll_ot::Party;
use atoll_primitives::stream::{Secret, Stream};
use atoll_psi::Refusal;
use atoll_psi::kept_messages::{Ask, Message, State, Update};
use atoll_psi::kept_oprf::{Asker, Evaluator};
use atoll_psi::kept_store::Store;
use atoll_psi::kept_update::{Holder, Keeper, difference, width};
use atoll_psi::voprf::Key;
use proptest::prelude::*;

type Digest = [u8; 32];

fn key(n: u8) -> Key {
    Key::derive(&[n; 32], b"test").unwrap()
}

fn digests(of: impl IntoIterator<Item = u8>) -> Vec<Digest> {
    of.into_iter().map(|x| [x; 32]).collect()
}

fn stream(side: &str) -> Stream {
    Stream::new(&Secret::new([3; 32]), 0, "c", side)
}

fn updated(store: &Store, mut holder: Holder) -> Result<Store, Refusal> {
    let mut keeper = Keeper::new(store.clone(), 1000);
    while let Some(message) = holder.next_message()? {
        keeper.receive(&message)?;
    }
    assert!(holder.done());
    keeper.store().cloned()
}

fn set_up(of: &[Digest]) -> Store {
    let holder = Holder::new(&key(1), (0, 1), &[], of, 10, 1).unwrap();
    updated(&Store::default(), holder).unwrap()
}

fn asker(store: &Store, of: &[Digest], chunk: usize) -> Asker<Vec<u8>> {
    let digests = of.as_flattened().to_vec();
    Asker::new(store.clone(), digests, stream("asker"), chunk, 1).unwrap()
}

fn evaluator(key: Key, version: u64, limit: u64) -> Evaluator {
    Evaluator::new(key, version, limit, stream("holder"), 1).unwrap()
}

fn ask(asker: &mut Asker<Vec<u8>>, evaluator: &mut Evaluator) -> Result<Vec<u32>, Refusal> {
    while !(asker.done() && evaluator.done()) {
        while let Some(message) = asker.next_message()? {
            evaluator.receive(&message)?;
        }
        while let Some(message) = evaluator.next_message()? {
            asker.receive(&message)?;
        }
    }
    Ok(asker.matched()?.to_vec())
}

fn refused<T: std::fmt::Debug>(result: Result<T, Refusal>, text: &str) {
    let refusal = result.unwrap_err();
    assert_eq!(refusal.code, "E_PROTOCOL", "{refusal}");
    assert!(
        refusal.text.contains(text),
        "{refusal} does not say {text:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn after_any_changes_the_matches_are_those_of_sets(
        sets in proptest::collection::vec(proptest::collection::btree_set(0u8..20, 0..12), 1..4),
        asked in proptest::collection::btree_set(0u8..20, 0..9),
        chunk in 1usize..5,
    ) {
        let mut store = Store::default();
        let mut before: Vec<Digest> = Vec::new();
        for (i, set) in sets.iter().enumerate() {
            let now = digests(set.iter().copied());
            let (added, removed) = difference(&before, &now);
            let versions = (i as u64, i as u64 + 1);
            let holder = Holder::new(&key(1), versions, &removed, &added, 10, 1).unwrap();
            store = updated(&store, holder).unwrap();
            before = now;
        }
        let last = sets.last().unwrap();
        prop_assert_eq!(store.len(), last.len());
        // What came by differences is what would have come whole.
        let whole = set_up(&before);
        prop_assert_eq!(&store.encode()[64..], &whole.encode()[64..]);
        prop_assert_eq!(Store::parse(&store.encode()).unwrap(), store.clone());
        let items: Vec<u8> = asked.iter().copied().collect();
        let matched = ask(
            &mut asker(&store, &digests(items.iter().copied()), chunk),
            &mut evaluator(key(1), sets.len() as u64, 9),
        ).unwrap();
        let found: BTreeSet<u8> = matched.iter().map(|i| items[*i as usize]).collect();
        prop_assert_eq!(found, asked.intersection(last).copied().collect::<BTreeSet<u8>>());
    }

    #[test]
    fn any_bytes_of_a_peer_give_an_error_and_never_a_panic(
        kind in 0u8..9,
        body in proptest::collection::vec(any::<u8>(), 0..220),
        count in proptest::option::of(0u32..4),
    ) {
        let count = count.map(|n| n.to_le_bytes().to_vec()).unwrap_or_default();
        let bytes = [vec![kind], count, body].concat();
        let store = set_up(&digests(1..4));
        let mut asking = asker(&store, &digests([1, 2]), 8);
        asking.next_message().unwrap();
        asking.next_message().unwrap();
        let mut keeper = Keeper::new(store, 10);
        let mut answering = evaluator(key(1), 1, 9);
        for result in [asking.receive(&bytes), keeper.receive(&bytes), answering.receive(&bytes)] {
            if let Err(refusal) = result {
                prop_assert_eq!(refusal.code, "E_PROTOCOL");
            }
        }
        if let Ok(message) = Message::parse(&bytes, 10) {
            let one = if matches!(message, Message::Blinded(_) | Message::Evaluated(..)) { 32 } else { 10 };
            prop_assert_eq!(message.encode(one), bytes.clone());
        }
        prop_assert!(Store::parse(&bytes).is_err());
    }
}

#[test]
fn bytes_follow_from_the_seed_whatever_the_threads() {
    let (set, asked) = (digests(0..200), digests(100..255));
    let run = |threads: usize| {
        let mut holder = Holder::new(&key(1), (0, 1), &[], &set, 10, threads).unwrap();
        let mut bytes = Vec::new();
        let mut keeper = Keeper::new(Store::default(), 1000);
        while let Some(message) = holder.next_message().unwrap() {
            keeper.receive(&message).unwrap();
            bytes.extend(message);
        }
        let flat = asked.as_flattened().to_vec();
        let store = keeper.store().unwrap().clone();
        let mut asker = Asker::new(store, flat, stream("a"), 150, threads).unwrap();
        let mut evaluator = Evaluator::new(key(1), 1, 999, stream("h"), threads).unwrap();
        while let Some(message) = asker.next_message().unwrap() {
            evaluator.receive(&message).unwrap();
            bytes.extend(message);
        }
        while let Some(message) = evaluator.next_message().unwrap() {
            asker.receive(&message).unwrap();
            bytes.extend(message);
        }
        assert_eq!(asker.matched().unwrap(), (0..100).collect::<Vec<u32>>());
        bytes
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn a_holder_with_another_key_is_found() {
    let store = set_up(&digests(1..4));
    let mut asking = asker(&store, &digests([1, 2]), 8);
    let mut honest = evaluator(key(1), 1, 9);
    let mut other = evaluator(key(2), 1, 9);
    // The other key says that it is the kept one: only its proof gives it away.
    let head = Ask {
        state: State {
            public: *key(2).public(),
            version: 1,
        },
        count: 2,
    };
    other.receive(&Message::Ask(head).encode(32)).unwrap();
    honest
        .receive(&asking.next_message().unwrap().unwrap())
        .unwrap();
    let question = asking.next_message().unwrap().unwrap();
    other.receive(&question).unwrap();
    let answer = other.next_message().unwrap().unwrap();
    refused(asking.receive(&answer), "proof");
    assert_eq!(asking.receive(&answer).unwrap_err().code, "E_STATE");
    assert!(!asking.done() && asking.matched().is_err());
}

#[test]
fn changed_answers_are_found() {
    let store = set_up(&digests(1..4));
    let answer = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut asking = asker(&store, &digests([1, 2]), 8);
        let mut answering = evaluator(key(1), 1, 9);
        answering
            .receive(&asking.next_message().unwrap().unwrap())
            .unwrap();
        answering
            .receive(&asking.next_message().unwrap().unwrap())
            .unwrap();
        let mut bytes = answering.next_message().unwrap().unwrap();
        change(&mut bytes);
        asking.receive(&bytes)
    };
    let points = 1 + 64 + 4;
    answer(&|_| {}).unwrap();
    refused(answer(&|b| b[1] ^= 1), "proof");
    refused(answer(&|b| b[64] = 0xff), "canonical");
    refused(answer(&|b| b[points..points + 32].fill(0)), "identity");
    refused(answer(&|b| b[points..points + 32].fill(0xff)), "canonical");
    refused(answer(&|b| b[points..].rotate_left(32)), "proof");
    refused(answer(&|b| b.push(0)), "length");
    refused(
        answer(&|b| {
            b.truncate(points + 32);
            b[65] = 1
        }),
        "number of elements",
    );
}

#[test]
fn askings_beyond_what_was_agreed_are_refused() {
    let store = set_up(&digests(1..4));
    let head = |count| {
        Message::Ask(Ask {
            state: store.state(),
            count,
        })
        .encode(32)
    };
    refused(
        evaluator(key(1), 1, 1).receive(&head(2)),
        "more keys than it may",
    );
    refused(
        evaluator(key(1), 2, 9).receive(&head(2)),
        "version 1, the set has version 2",
    );
    refused(evaluator(key(2), 1, 9).receive(&head(2)), "another key");
    let mut asking = asker(&store, &digests([1, 2]), 8);
    asking.next_message().unwrap();
    let question = asking.next_message().unwrap().unwrap();
    refused(evaluator(key(1), 1, 9).receive(&question), "out of order");
    let mut answering = evaluator(key(1), 1, 9);
    answering.receive(&head(1)).unwrap();
    refused(answering.receive(&question), "more keys are asked");
    let mut answering = evaluator(key(1), 1, 9);
    answering.receive(&head(1)).unwrap();
    refused(answering.receive(&head(1)), "out of order");
    let mut answering = evaluator(key(1), 1, 9);
    answering.receive(&head(1)).unwrap();
    answering
        .receive(&Message::Blinded(&[[0; 32]]).encode(32))
        .unwrap();
    refused(answering.next_message(), "identity");
    assert_eq!(answering.next_message().unwrap_err().code, "E_STATE");
}

#[test]
fn updates_that_do_not_fit_are_refused() {
    let store = set_up(&digests(1..4));
    let update = |versions, removed: &[Digest], added: &[Digest]| {
        updated(
            &store,
            Holder::new(&key(1), versions, removed, added, 10, 1).unwrap(),
        )
    };
    refused(
        update((2, 3), &[], &digests([9])),
        "starts from version 2, kept is version 1",
    );
    refused(update((1, 2), &digests([9]), &[]), "not kept");
    refused(update((1, 2), &[], &digests([1])), "kept already");
    let other = Holder::new(&key(2), (1, 2), &[], &digests([9]), 10, 1).unwrap();
    refused(updated(&store, other), "starts from");
    let wider = Holder::new(&key(1), (1, 2), &[], &digests([9]), 11, 1).unwrap();
    refused(updated(&store, wider), "starts from");
    // Anew under another key: at the holder's decision.
    let anew = Holder::new(&key(2), (0, 1), &[], &digests([9]), 12, 1).unwrap();
    assert_eq!(updated(&store, anew).unwrap().len(), 1);
    assert_eq!(update((1, 1), &[], &[]).unwrap(), store);
    let twice = Holder::new(&key(1), (0, 1), &[], &digests([9, 9]), 10, 1);
    assert_eq!(twice.unwrap_err().code, "E_STATE");
    let mut keeper = Keeper::new(Store::default(), 2);
    let mut holder = Holder::new(&key(1), (0, 1), &[], &digests(1..4), 10, 1).unwrap();
    refused(
        keeper.receive(&holder.next_message().unwrap().unwrap()),
        "larger",
    );
}

#[test]
fn repeated_disordered_and_undeclared_outputs_are_refused() {
    let to = State {
        public: *key(1).public(),
        version: 1,
    };
    let send = |added: u64, tags: &[&[u8]]| {
        let mut keeper = Keeper::new(Store::default(), 100);
        let head = Update {
            to,
            from: 0,
            removed: 0,
            added,
            width: 10,
        };
        keeper.receive(&Message::Update(head).encode(10))?;
        for tags in tags {
            keeper.receive(&Message::Added(tags).encode(10))?;
        }
        keeper.store().cloned()
    };
    let (a, b) = ([1u8; 10], [2u8; 10]);
    assert_eq!(send(2, &[&a, &b]).unwrap().len(), 2);
    refused(send(2, &[&a, &a]), "repeated");
    refused(send(2, &[&[b, a].concat()]), "order");
    refused(send(1, &[&[a, b].concat()]), "more outputs");
    refused(send(1, &[&a, &b]), "out of order");
    assert_eq!(send(2, &[&a]).unwrap_err().code, "E_STATE");
}

#[test]
fn widths() {
    assert_eq!(width(1 << 20, 1 << 10), 10);
    assert_eq!(width(1 << 20, 1 << 20), 11);
}

/// Costs: `cargo test --release -p atoll-psi --test kept_oprf costs -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, not a check"]
fn costs() {
    let wide = |from: u64, n: u64| -> Vec<Digest> {
        (from..from + n)
            .map(|i| {
                let mut d = [0; 32];
                d[..8].copy_from_slice(&i.to_le_bytes());
                d
            })
            .collect()
    };
    let start = std::time::Instant::now();
    let holder = Holder::new(&key(1), (0, 1), &[], &wide(0, 100_000), 11, 1).unwrap();
    println!(
        "set-up: {:.1} us a row",
        start.elapsed().as_secs_f64() * 10.0
    );
    let mut keeper = Keeper::new(Store::default(), 1 << 20);
    let mut holder = holder;
    while let Some(message) = holder.next_message().unwrap() {
        keeper.receive(&message).unwrap();
    }
    println!(
        "kept: {:.2} bytes a row",
        keeper.store().unwrap().encode().len() as f64 / 1e5
    );
    for n in [1000, 10_000] {
        let mut asking = asker(keeper.store().unwrap(), &wide(99_500, n), 1024);
        let mut answering = evaluator(key(1), 1, n);
        let start = std::time::Instant::now();
        assert_eq!(ask(&mut asking, &mut answering).unwrap().len(), 500);
        println!(
            "asking {n}, both sides on one thread: {:.3} s",
            start.elapsed().as_secs_f64()
        );
    }
}
