//! Shares of one id's words, against plain sight: message by message in one thread.

use std::collections::HashSet;

use atoll_pir::{Client, Hint, Layout, Matrix, Table};
use atoll_primitives::stream::{Secret, Stream};
use atoll_psi::Refusal;
use atoll_psi::select::{
    Asker, Holder, Parameters, Preparation, Query, Role, Sealing, Shape, column, sizes,
};
use atoll_shares::masks::{EphemeralKey, Peer, masked};
use proptest::prelude::*;

const SALT: [u8; 16] = [4; 16];

fn digest(key: u32) -> [u8; 32] {
    Stream::derive(&key.to_le_bytes(), &[b"digest"]).bytes()
}

fn parameters(role: Role, shape: Shape, queries: usize) -> Parameters {
    Parameters {
        attempt: 0,
        channel: "c".into(),
        context: b"job".to_vec(),
        role,
        shape,
        queries,
        threads: 1,
    }
}

fn preparations(shape: Shape, queries: usize, seed: u8) -> [Preparation; 2] {
    [Role::Asker, Role::Holder].map(|role| {
        let seed = Secret::new([seed.wrapping_mul(2) + role as u8; 32]);
        Preparation::new(&seed, parameters(role, shape, queries)).unwrap()
    })
}

/// What a preparation and a query have in common.
trait Side: std::fmt::Debug {
    fn next(&mut self) -> Result<Option<Vec<u8>>, Refusal>;
    fn take(&mut self, bytes: &[u8]) -> Result<(), Refusal>;
    fn ended(&self) -> bool;
}

macro_rules! side {
    ($machine:ty) => {
        impl Side for $machine {
            fn next(&mut self) -> Result<Option<Vec<u8>>, Refusal> {
                let message = self.next_message()?;
                Ok(message.map(|message| {
                    assert!(message.bytes.len() <= 1 << 20 && !message.opens);
                    message.bytes
                }))
            }
            fn take(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
                self.receive(bytes)
            }
            fn ended(&self) -> bool {
                self.done()
            }
        }
    };
}

side!(Preparation);
side!(Query);

/// Runs both to their end; all messages in order, with the number of their sender.
fn run<S: Side>(sides: &mut [S; 2]) -> Vec<(usize, Vec<u8>)> {
    let mut sent = Vec::new();
    while !(sides[0].ended() && sides[1].ended()) {
        let before = sent.len();
        for from in 0..2 {
            while let Some(message) = sides[from].next().unwrap() {
                sides[1 - from].take(&message).unwrap();
                sent.push((from, message));
            }
        }
        assert!(sent.len() > before, "nobody can send");
    }
    sent
}

fn prepared(shape: Shape, queries: usize, seed: u8) -> (Asker, Holder) {
    let mut sides = preparations(shape, queries, seed);
    run(&mut sides);
    let [asker, holder] = sides;
    (asker.asker().unwrap(), holder.holder().unwrap())
}

fn opened(sides: &[Query; 2]) -> Vec<u64> {
    let [asker, holder] = sides.each_ref().map(|side| side.shares().unwrap());
    let sums = asker.iter().zip(holder);
    sums.map(|(a, b)| a.wrapping_add(*b)).collect()
}

/// A table of one column: the keys `0..keys`, each with words that follow from it.
struct World {
    shape: Shape,
    sealing: Sealing,
    values: Vec<u64>,
    column: Vec<u8>,
}

fn world(cells: usize, words: usize, keys: u32) -> World {
    let shape = Shape::new(cells, words).unwrap();
    let sealing = Sealing::new(&Secret::new([9; 32]), shape);
    let digests: Vec<u8> = (0..keys).flat_map(digest).collect();
    let values = (0..keys as usize * words)
        .map(|at| (at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
        .collect::<Vec<_>>();
    let filler = Stream::derive(&[1; 32], &[b"filler"]);
    let column = sealing.table(&SALT, 1, &digests, &values, filler).unwrap();
    World {
        shape,
        sealing,
        values,
        column,
    }
}

impl World {
    fn sides(&self, pools: &mut (Asker, Holder), key: u32) -> [Query; 2] {
        let mut asker = pools.0.query().unwrap();
        asker.ask(&digest(key)).unwrap();
        asker.column(&self.column).unwrap();
        [asker, pools.1.query(&self.sealing).unwrap()]
    }

    /// What plain sight gives: the words of a key of the table, else zeros.
    fn plain(&self, key: u32) -> Vec<u64> {
        let words = self.shape.words();
        let found = self.values.chunks(words).nth(key as usize);
        found.map_or(vec![0; words], <[u64]>::to_vec)
    }
}

#[test]
fn every_key_and_no_other_has_its_words() {
    for cells in [1, 2, 5] {
        for words in 1..=4 {
            for keys in 0..=cells as u32 {
                let world = world(cells, words, keys);
                let ids = (0..keys).chain([1000, 1001]);
                let mut pools = prepared(world.shape, ids.clone().count(), 1);
                for key in ids {
                    let mut sides = world.sides(&mut pools, key);
                    run(&mut sides);
                    assert_eq!(
                        opened(&sides),
                        world.plain(key),
                        "{cells} {words} {keys} {key}"
                    );
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn shares_open_to_the_words_of_the_id(
        cells in 1usize..300,
        words in 1usize..=6,
        load in 0f64..1.0,
        ids in proptest::collection::vec(0u32..300, 1..4),
    ) {
        let world = world(cells, words, (cells as f64 * load) as u32);
        let mut pools = prepared(world.shape, ids.len(), 1);
        for key in ids {
            let mut sides = world.sides(&mut pools, key);
            run(&mut sides);
            prop_assert_eq!(opened(&sides), world.plain(key));
        }
        prop_assert_eq!((pools.0.left(), pools.1.left()), (0, 0));
    }
}

#[test]
fn three_holders_give_one_total() {
    // Ids 0 to 399; holder h knows those that h + 2 divides, each with the id and a 1.
    let (columns, shape) = (32, Shape::new(40, 2).unwrap());
    let ids = [0u32, 6, 7, 35, 12, 1000];
    let keys: Vec<EphemeralKey> = (0..3u8)
        .map(|h| EphemeralKey::draw(&Secret::new([h; 32]), 0, "totals"))
        .collect();
    let mut totals = vec![vec![0u64; 2]; ids.len()];
    for h in 0..3u32 {
        let sealing = Sealing::new(&Secret::new([h as u8; 32]), shape);
        let own: Vec<u32> = (0..400).filter(|key| key % (h + 2) == 0).collect();
        let digests: Vec<u8> = own.iter().flat_map(|key| digest(*key)).collect();
        let values: Vec<u64> = own.iter().flat_map(|key| [u64::from(*key), 1]).collect();
        let filler = Stream::derive(&[h as u8; 32], &[b"filler"]);
        let cells = sealing
            .table(&SALT, columns, &digests, &values, filler)
            .unwrap();
        let layout = Layout::shaped(columns, 40, shape.cell_bytes()).unwrap();
        let table = Table::new(layout, [1; 16], &cells).unwrap();
        let matrix = Matrix::expand(&[7; 32], columns);
        let hint = Hint::compute(&table, &matrix).unwrap();
        let client = Client::new(&hint, &matrix).unwrap();
        let mut pools = prepared(shape, ids.len(), h as u8);
        for (at, id) in ids.iter().enumerate() {
            let place = column(&digest(*id), &SALT, columns);
            let mut draws = Stream::derive(&[h as u8, at as u8], &[b"query"]);
            let (state, query) = client.query(place, &mut draws).unwrap();
            let answer = table.answer(&[&query]).unwrap().remove(0);
            let mut asker = pools.0.query().unwrap();
            asker.ask(&digest(*id)).unwrap();
            asker
                .column(&client.recover(state, &answer).unwrap())
                .unwrap();
            let mut sides = [asker, pools.1.query(&sealing).unwrap()];
            run(&mut sides);
            // The holder's share leaves under masks that cancel in the sum over all holders, modulo 2^64.
            let share = sides[1].shares().unwrap();
            let wide: Vec<u8> = share
                .iter()
                .flat_map(|w| u128::from(*w).to_le_bytes())
                .collect();
            let peers: Vec<Peer> = (0..3u8)
                .filter(|other| u32::from(*other) != h)
                .map(|other| Peer {
                    id: vec![other],
                    public: keys[usize::from(other)].public(),
                })
                .collect();
            let label = format!("query/{at}");
            let sent =
                masked(&wide, &keys[h as usize], &[h as u8], &peers, b"job", &label).unwrap();
            let sent = sent
                .as_chunks::<16>()
                .0
                .iter()
                .map(|w| u128::from_le_bytes(*w) as u64);
            for ((total, own), sent) in totals[at]
                .iter_mut()
                .zip(sides[0].shares().unwrap())
                .zip(sent)
            {
                *total = total.wrapping_add(*own).wrapping_add(sent);
            }
        }
    }
    for (id, total) in ids.into_iter().zip(totals) {
        let hits = (2..5).filter(|by| id % by == 0 && id < 400).count() as u64;
        assert_eq!(total, [hits * u64::from(id), hits], "{id}");
    }
}

#[test]
fn messages_have_the_same_lengths_whether_the_id_is_there_or_not() {
    let world = world(70, 1, 50);
    let mut pools = prepared(world.shape, 2, 1);
    let lengths = [3, 2000].map(|key| {
        let sent = run(&mut world.sides(&mut pools, key));
        let lengths = sent.into_iter().map(|(from, bytes)| (from, bytes.len()));
        lengths.collect::<Vec<_>>()
    });
    assert_eq!(lengths[0], lengths[1]);
}

#[test]
fn sizes_are_those_of_a_run() {
    for (cells, words) in [(1, 1), (154, 1), (30, 16)] {
        let world = world(cells, words, 1);
        let mut sides = preparations(world.shape, 2, 1);
        let bytes = |sent: &[(usize, Vec<u8>)]| {
            [0, 1].map(|side| {
                let own = sent.iter().filter(|(from, _)| *from == side);
                own.map(|(_, bytes)| bytes.len() as u64).sum::<u64>()
            })
        };
        let preparation = bytes(&run(&mut sides));
        let [asker, holder] = sides;
        let mut pools = (asker.asker().unwrap(), holder.holder().unwrap());
        let sent = run(&mut world.sides(&mut pools, 0));
        let turned = sent
            .windows(2)
            .filter(|pair| pair[0].0 != pair[1].0)
            .count() as u64;
        let expected = sizes(&parameters(Role::Asker, world.shape, 2)).unwrap();
        assert_eq!(expected.preparation, preparation);
        assert_eq!((expected.query, expected.rounds), (bytes(&sent), turned));
    }
}

#[test]
fn no_query_takes_what_another_took() {
    let world = world(20, 2, 20);
    let mut pools = prepared(world.shape, 5, 1);
    let mut seen = HashSet::new();
    for number in 0..5 {
        // The same id each time: only what was prepared differs.
        let mut sides = world.sides(&mut pools, 7);
        assert_eq!((sides[0].number(), sides[1].number()), (number, number));
        for (_, message) in run(&mut sides) {
            let body = &message[6..];
            if body.len() >= 16 {
                let parts = body.as_chunks::<16>().0;
                let fresh = parts.iter().all(|part| seen.insert(*part));
                assert!(fresh, "message {} of query {number}", message[0]);
            }
        }
        assert_eq!(opened(&sides), world.plain(7));
    }
    assert_eq!(pools.0.query().unwrap_err().code, "E_STATE");
    assert_eq!(pools.1.query(&world.sealing).unwrap_err().code, "E_STATE");
}

#[test]
fn another_attempt_or_seed_shares_no_message() {
    let world = world(9, 1, 5);
    let sent = |attempt: u32, seed: u8| {
        let mut sides = [Role::Asker, Role::Holder].map(|role| {
            let mut p = parameters(role, world.shape, 1);
            p.attempt = attempt;
            Preparation::new(&Secret::new([seed + role as u8; 32]), p).unwrap()
        });
        let mut sent = run(&mut sides);
        let [asker, holder] = sides;
        let mut pools = (asker.asker().unwrap(), holder.holder().unwrap());
        sent.extend(run(&mut world.sides(&mut pools, 2)));
        sent
    };
    let first = sent(0, 1);
    assert_eq!(first, sent(0, 1));
    for other in [sent(1, 1), sent(0, 5)] {
        assert_eq!(first.len(), other.len());
        // But for the single bit of the asker's flip.
        let all = first.iter().zip(&other).filter(|((_, m), _)| m.len() > 16);
        assert!(all.clone().count() > 12 && all.into_iter().all(|(one, other)| one != other));
    }
}

#[test]
fn each_share_alone_is_uniform() {
    // Bytes of each share over many hits and misses. Chi-square with 255 degrees of freedom: above 350 once in 10,000.
    let world = world(3, 8, 2);
    let mut bytes = [[[0f64; 256]; 2]; 2];
    let mut pools = prepared(world.shape, 600, 3);
    for query in 0..600 {
        let miss = query % 2;
        let mut sides = world.sides(&mut pools, if miss == 1 { 77 } else { 1 });
        run(&mut sides);
        for (side, counts) in sides.iter().zip(&mut bytes[miss]) {
            for byte in side
                .shares()
                .unwrap()
                .iter()
                .flat_map(|word| word.to_le_bytes())
            {
                counts[usize::from(byte)] += 1.0;
            }
        }
    }
    for counts in bytes.as_flattened() {
        let mean = 300.0 * 64.0 / 256.0;
        let distance = counts.iter().map(|c| (c - mean) * (c - mean) / mean);
        assert!(distance.sum::<f64>() < 350.0);
    }
}

/// What is sent in place of a message, given the ones before.
type Change = dyn Fn(&[u8], &[Vec<u8>]) -> Vec<Vec<u8>>;

const CHANGES: [&Change; 7] = [
    &|_, _| vec![Vec::new()],
    &|m, _| vec![m[..m.len() - 1].to_vec()],
    &|m, _| vec![[m, &[0][..]].concat()],
    &|m, _| vec![[&[m[0] ^ 64][..], &m[1..]].concat()],
    &|m, _| vec![[&[m[0], m[1] ^ 64][..], &m[2..]].concat()],
    &|m, _| vec![m.to_vec(), m.to_vec()],
    &|m, seen| {
        let other = seen.iter().rev().find(|other| other[..2] != m[..2]);
        vec![other.cloned().unwrap_or(vec![9])]
    },
];

#[test]
fn broken_messages_of_a_query_are_refused_wherever_they_come() {
    let world = world(9, 2, 5);
    let count = run(&mut world.sides(&mut prepared(world.shape, 1, 1), 2)).len();
    assert!(count > 13);
    let changes: Vec<&Change> = CHANGES
        .into_iter()
        // Of another query.
        .chain([
            &(|m: &[u8], _: &[Vec<u8>]| vec![[&m[..2], &[m[2] ^ 1], &m[3..]].concat()]) as &Change,
        ])
        .collect();
    let mut pools = prepared(world.shape, count * changes.len(), 1);
    for at in 0..count {
        for (number, change) in changes.iter().enumerate() {
            let mut sides = world.sides(&mut pools, 2);
            let refusal = cheat(&mut sides, at, change);
            assert_eq!(refusal.code, "E_PROTOCOL", "message {at}, change {number}");
        }
    }
}

/// Runs honestly up to message `at`, which `change` replaces by others; what the receiver says.
fn cheat<S: Side>(sides: &mut [S; 2], at: usize, change: &Change) -> Refusal {
    let mut seen: Vec<Vec<u8>> = Vec::new();
    loop {
        let before = seen.len();
        for from in 0..2 {
            while let Some(message) = sides[from].next().unwrap() {
                let other = &mut sides[1 - from];
                if seen.len() == at {
                    let mut sent = change(&message, &seen).into_iter();
                    let refused = sent.find_map(|bytes| other.take(&bytes).err());
                    assert_eq!(other.take(&message).unwrap_err().code, "E_STATE");
                    assert_eq!(other.next().unwrap_err().code, "E_STATE");
                    assert!(!other.ended());
                    return refused.expect("a changed message passed");
                }
                other.take(&message).unwrap();
                seen.push(message);
            }
        }
        assert!(seen.len() > before, "nobody can send");
    }
}

#[test]
fn broken_messages_of_a_preparation_are_refused_wherever_they_come() {
    let shape = Shape::new(9, 2).unwrap();
    let count = run(&mut preparations(shape, 2, 1)).len();
    assert!(count > 6);
    for at in 0..count {
        for (number, change) in CHANGES.into_iter().enumerate() {
            let refusal = cheat(&mut preparations(shape, 2, 1), at, change);
            assert_eq!(refusal.code, "E_PROTOCOL", "message {at}, change {number}");
        }
    }
}

#[test]
fn sides_that_do_not_agree_part_at_the_coin() {
    let shape = Shape::new(9, 2).unwrap();
    for change in 0..5 {
        let mut p = parameters(Role::Asker, shape, 2);
        match change {
            0 => p.context = b"other".to_vec(),
            1 => p.shape = Shape::new(10, 2).unwrap(),
            2 => p.shape = Shape::new(9, 1).unwrap(),
            3 => p.queries = 3,
            _ => p.channel = "d".into(),
        }
        let mut sides = [
            Preparation::new(&Secret::new([1; 32]), p).unwrap(),
            Preparation::new(&Secret::new([2; 32]), parameters(Role::Holder, shape, 2)).unwrap(),
        ];
        for (from, refused) in [(1, false), (0, false), (1, true)] {
            let message = sides[from].next_message().unwrap().unwrap();
            assert_eq!(sides[1 - from].receive(&message.bytes).is_err(), refused);
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let world = world(9, 2, 5);
    let (mut asker, mut holder) = prepared(world.shape, 2, 1);
    let code = |found: Result<Query, Refusal>| found.unwrap_err().code;
    let other = Sealing::new(&Secret::new([9; 32]), Shape::new(9, 1).unwrap());
    assert_eq!(code(holder.query(&other)), "E_FORMAT");
    assert_eq!(holder.left(), 2);
    let mut query = holder.query(&world.sealing).unwrap();
    assert_eq!(query.column(&world.column).unwrap_err().code, "E_STATE");
    assert_eq!(query.ask(&digest(0)).unwrap_err().code, "E_STATE");
    let mut query = asker.query().unwrap();
    query.ask(&digest(0)).unwrap();
    assert_eq!(query.ask(&digest(0)).unwrap_err().code, "E_STATE");
    assert_eq!(
        query.column(&world.column[1..]).unwrap_err().code,
        "E_FORMAT"
    );
    query.column(&world.column).unwrap();
    assert_eq!(query.column(&world.column).unwrap_err().code, "E_STATE");
    assert_eq!(query.shares().unwrap_err().code, "E_STATE");
    let [asker, holder] = preparations(world.shape, 1, 1);
    assert_eq!(asker.asker().unwrap_err().code, "E_STATE");
    let mut sides = preparations(world.shape, 1, 1);
    run(&mut sides);
    let [asker, _] = sides;
    assert_eq!(asker.holder().unwrap_err().code, "E_STATE");
    assert_eq!(holder.holder().unwrap_err().code, "E_STATE");
}

#[test]
fn blocks_cross_before_there_is_an_id_and_columns_may_come_late() {
    let world = world(9, 3, 5);
    let (mut asker, mut holder) = prepared(world.shape, 3, 1);
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut sides = [
            asker.query().unwrap(),
            holder.query(&world.sealing).unwrap(),
        ];
        while let Some(message) = sides[1].next_message().unwrap() {
            assert!(sides[0].next_message().unwrap().is_none());
            sides[0].receive(&message.bytes).unwrap();
        }
        assert!(sides[0].next_message().unwrap().is_none());
        open.push(sides);
    }
    for (key, sides) in [3, 77, 0].into_iter().zip(&mut open) {
        sides[0].ask(&digest(key)).unwrap();
        let choices = sides[0].next_message().unwrap().unwrap();
        sides[1].receive(&choices.bytes).unwrap();
        let labels = sides[1].next_message().unwrap().unwrap();
        sides[0].receive(&labels.bytes).unwrap();
        assert!(sides[0].next_message().unwrap().is_none());
        sides[0].column(&world.column).unwrap();
        run(sides);
        assert_eq!(opened(sides), world.plain(key));
    }
}

#[test]
fn other_bits_of_the_same_length_change_the_sum_and_nobody_sees_it() {
    // Semi-honest: no detection is promised, and none happens.
    let world = world(9, 1, 5);
    for kind in [5u8, 6, 7, 9, 11, 13] {
        let mut pools = prepared(world.shape, 1, 1);
        let mut sides = world.sides(&mut pools, 2);
        while !(sides[0].done() && sides[1].done()) {
            for from in 0..2 {
                while let Some(mut message) = sides[from].next_message().unwrap() {
                    if message.bytes[0] == kind {
                        message.bytes[6..].iter_mut().for_each(|byte| *byte ^= 1);
                    }
                    sides[1 - from].receive(&message.bytes).unwrap();
                }
            }
        }
        // Words of the holder that the other side's half leaves out may stay as they are.
        assert!(opened(&sides) != world.plain(2) || kind >= 11, "{kind}");
    }
}

/// Processor time of this process in seconds, in steps of 10 ms.
fn spent() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks.map(|t| t.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

/// Processor time and bytes: `cargo test --release -p atoll-psi --test select cost -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, not a check"]
fn cost_of_a_query() {
    for (cells, words) in [(154, 1), (154, 4), (200, 1)] {
        let world = world(cells, words, 100);
        let queries = 1000;
        let sizes = sizes(&parameters(Role::Asker, world.shape, queries)).unwrap();
        let start = spent();
        let mut pools = prepared(world.shape, queries, 1);
        let preparation = spent() - start;
        let mut seconds = [0.0; 2];
        for first in (0..queries as u32).step_by(100) {
            let mut all: Vec<[Query; 2]> = (first..first + 100)
                .map(|key| world.sides(&mut pools, key))
                .collect();
            while !all.iter().all(|sides| sides[0].done() && sides[1].done()) {
                for from in 0..2 {
                    let start = spent();
                    let mut sent = Vec::new();
                    for (number, sides) in all.iter_mut().enumerate() {
                        while let Some(message) = sides[from].next_message().unwrap() {
                            sent.push((number, message.bytes));
                        }
                    }
                    seconds[from] += spent() - start;
                    let start = spent();
                    for (number, message) in sent {
                        all[number][1 - from].receive(&message).unwrap();
                    }
                    seconds[1 - from] += spent() - start;
                }
            }
        }
        let each = |seconds: f64| seconds * 1e3 / queries as f64;
        println!(
            "{cells} cells of {words} words, a query: prepared in {:.2} ms at both sides, asker {:.2} ms, \
             holder {:.2} ms; of {queries} queries {sizes:?}",
            each(preparation),
            each(seconds[0]),
            each(seconds[1]),
        );
    }
}
