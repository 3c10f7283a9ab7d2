//! The machine against the ideal functionality, message by message in one thread.

use std::collections::BTreeMap;

use atoll_primitives::stream::Secret;
use atoll_psi::ecdh::{Learns, Machine, Parameters};
use proptest::prelude::*;

fn machine(
    seed: u8,
    mine: &BTreeMap<u8, u32>,
    peer_items: usize,
    modes: [Learns; 2],
    chunk: usize,
) -> Machine<Vec<u8>> {
    let parameters = Parameters {
        attempt: 0,
        channel: "c".into(),
        context: b"job".to_vec(),
        peer_items: peer_items as u64,
        i_learn: modes[0],
        peer_learns: modes[1],
        threads: 1,
        chunk_items: chunk,
    };
    let digests = mine.keys().flat_map(|k| [*k; 32]).collect();
    let multiplicity = Some(mine.values().copied().collect());
    Machine::new(&Secret::new([seed; 32]), parameters, digests, multiplicity).unwrap()
}

fn run(sides: &mut [Machine<Vec<u8>>; 2], turns: &[bool]) {
    let mut turns = turns.iter().copied().cycle();
    while !(sides[0].done() && sides[1].done()) {
        let from = usize::from(turns.next().unwrap());
        // A side that must wait lets the other go first.
        let (from, message) = match sides[from].next_message().unwrap() {
            Some(message) => (from, message),
            None => (
                1 - from,
                sides[1 - from]
                    .next_message()
                    .unwrap()
                    .expect("one side can always send"),
            ),
        };
        sides[1 - from].receive(&message.bytes).unwrap();
    }
}

fn learns() -> impl Strategy<Value = Learns> {
    prop_oneof![
        Just(Learns::Rows),
        Just(Learns::Size),
        Just(Learns::Nothing)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn both_sides_learn_what_the_ideal_functionality_gives(
        left in proptest::collection::btree_map(0u8..12, 1u32..5, 0..10),
        right in proptest::collection::btree_map(0u8..12, 1u32..5, 0..10),
        modes in [learns(), learns()].prop_filter("someone learns", |m| m.iter().any(|l| *l != Learns::Nothing)),
        chunk in 1usize..5,
        turns in proptest::collection::vec(any::<bool>(), 2..9),
    ) {
        let mut sides = [
            machine(1, &left, right.len(), modes, chunk),
            machine(2, &right, left.len(), [modes[1], modes[0]], chunk),
        ];
        run(&mut sides, &turns);
        let common: Vec<u8> = left.keys().filter(|k| right.contains_key(k)).copied().collect();
        let mut orders = Vec::new();
        for (i, (own, other)) in [(&left, &right), (&right, &left)].into_iter().enumerate() {
            let size = (modes[i] != Learns::Nothing).then_some(common.len() as u64);
            prop_assert_eq!(sides[i].size().unwrap(), size);
            if modes[i] != Learns::Rows {
                prop_assert!(sides[i].matched().is_err());
                continue;
            }
            let keys: Vec<u8> = own.keys().copied().collect();
            let matched: Vec<u8> = sides[i].matched().unwrap().iter().map(|m| keys[*m as usize]).collect();
            let mut sorted = matched.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, common.clone());
            if modes == [Learns::Rows; 2] {
                let want: Vec<u32> = matched.iter().map(|k| other[k]).collect();
                prop_assert_eq!(sides[i].peer_multiplicity().unwrap(), Some(want.as_slice()));
            }
            orders.push(matched);
        }
        prop_assert!(orders.windows(2).all(|pair| pair[0] == pair[1]));
    }

    #[test]
    fn any_bytes_of_a_peer_give_an_error_and_never_a_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        kind in 0u8..5,
        count in 0u32..4,
    ) {
        let own = BTreeMap::from([(1, 1), (2, 1)]);
        let mut side = machine(1, &own, 2, [Learns::Rows; 2], 8);
        side.next_message().unwrap();
        let framed = [&[kind][..], &count.to_le_bytes(), &bytes].concat();
        for message in [bytes, framed] {
            let mut fresh = machine(1, &own, 2, [Learns::Rows; 2], 8).restore(&side.checkpoint().unwrap()).unwrap();
            if let Err(refusal) = fresh.receive(&message) {
                prop_assert_eq!(refusal.code, "E_PROTOCOL");
            }
            let _ = machine(1, &own, 2, [Learns::Rows; 2], 8).restore(&message);
        }
    }
}
