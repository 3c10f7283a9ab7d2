//! Queries against a sealed table against `vectors/lookup_totals.json`, which `reference/lookup_totals.py` makes.

use atoll_primitives::stream::{Secret, Stream};
use atoll_psi::ecdh::Outgoing;
use atoll_psi::select::{Parameters, Preparation, Query, Role, Sealing, Shape, column};
use serde_json::Value;
use sha2::{Digest, Sha256};

type Sent = Vec<(usize, Vec<u8>)>;

fn cases() -> Vec<Value> {
    let file = include_str!("../../../vectors/lookup_totals.json");
    let vectors: Value = serde_json::from_str(file).unwrap();
    vectors["cases"].as_array().unwrap().clone()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn number(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn unhex(value: &Value) -> Vec<u8> {
    let digits = text(value).as_bytes().as_chunks::<2>().0;
    let digits = digits.iter().map(|two| std::str::from_utf8(two).unwrap());
    digits
        .map(|two| u8::from_str_radix(two, 16).unwrap())
        .collect()
}

fn fixed<const N: usize>(value: &Value) -> [u8; N] {
    unhex(value).try_into().unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn words(value: &Value) -> Vec<u64> {
    let words = list(value).iter();
    words.map(|word| text(word).parse().unwrap()).collect()
}

/// Both sides of the preparation of a case.
fn preparations(case: &Value, shape: Shape) -> [Preparation; 2] {
    [Role::Asker, Role::Holder].map(|role| {
        let parameters = Parameters {
            attempt: number(&case["attempt"]) as u32,
            channel: text(&case["channel"]).to_owned(),
            context: unhex(&case["context"]),
            role,
            shape,
            queries: list(&case["queries"]).len(),
            threads: 1,
        };
        let seed = Secret::new(fixed(&case["seeds"][role as usize]));
        Preparation::new(&seed, parameters).unwrap()
    })
}

/// Takes messages from one side to the other until nobody has one.
fn run<T>(
    sides: &mut [T; 2],
    next: impl Fn(&mut T) -> Option<Outgoing>,
    take: impl Fn(&mut T, &[u8]),
    sent: &mut Sent,
) {
    loop {
        let before = sent.len();
        for from in 0..2 {
            while let Some(message) = next(&mut sides[from]) {
                take(&mut sides[1 - from], &message.bytes);
                sent.push((from, message.bytes));
            }
        }
        if sent.len() == before {
            return;
        }
    }
}

/// Whether a message is the one of the vectors, long ones by their hash.
fn is(expected: &Value, (from, bytes): &(usize, Vec<u8>)) -> bool {
    let same = match expected["bytes"].as_str() {
        Some(expected) => expected == hex(bytes),
        None => {
            number(&expected["length"]) == bytes.len()
                && text(&expected["sha256"]) == hex(&Sha256::digest(bytes))
        }
    };
    same && text(&expected["from"]) == ["asker", "holder"][*from]
}

#[test]
fn every_cell_message_and_share_is_that_of_the_reference() {
    let cases = cases();
    assert!(cases.len() >= 2);
    for case in &cases {
        let name = text(&case["name"]);
        let shape = Shape::new(number(&case["cells"]), number(&case["words"])).unwrap();
        let (columns, salt) = (number(&case["columns"]), fixed(&case["salt"]));
        let sealing = Sealing::new(&Secret::new(fixed(&case["secret"])), shape);
        let digests: Vec<u8> = list(&case["digests"]).iter().flat_map(unhex).collect();
        let values: Vec<u64> = list(&case["values"]).iter().flat_map(words).collect();
        let filler = Stream::derive(&unhex(&case["filler"]), &[b"filler"]);
        let table = sealing
            .table(&salt, columns, &digests, &values, filler)
            .unwrap();
        assert_eq!(hex(&table), text(&case["table"]), "{name}");

        let mut sent = Sent::new();
        let mut sides = preparations(case, shape);
        let next = |side: &mut Preparation| side.next_message().unwrap();
        let take = |side: &mut Preparation, bytes: &[u8]| side.receive(bytes).unwrap();
        run(&mut sides, next, take, &mut sent);
        let [asker, holder] = sides;
        let (mut asker, mut holder) = (asker.asker().unwrap(), holder.holder().unwrap());
        for query in list(&case["queries"]) {
            let digest = fixed(&query["digest"]);
            let at = column(&digest, &salt, columns);
            assert_eq!(at, number(&query["column"]));
            let mut sides = [asker.query().unwrap(), holder.query(&sealing).unwrap()];
            sides[0].ask(&digest).unwrap();
            let bytes = shape.column_bytes();
            sides[0].column(&table[at * bytes..][..bytes]).unwrap();
            let next = |side: &mut Query| side.next_message().unwrap();
            let take = |side: &mut Query, bytes: &[u8]| side.receive(bytes).unwrap();
            run(&mut sides, next, take, &mut sent);
            for (side, expected) in sides.iter().zip(list(&query["shares"])) {
                assert_eq!(side.shares().unwrap(), words(expected), "{name}");
            }
        }
        let expected = list(&case["messages"]);
        assert_eq!(sent.len(), expected.len(), "{name}");
        for (at, (expected, sent)) in expected.iter().zip(&mut sent).enumerate() {
            assert!(is(expected, sent), "{name}: message {at}");
            let place = at * 7919 % sent.1.len();
            sent.1[place] ^= 1 << (at % 8);
            assert!(!is(expected, sent), "{name}: message {at} with another bit");
        }
    }
}
