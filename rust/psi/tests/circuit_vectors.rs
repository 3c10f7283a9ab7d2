//! Circuit-PSI against `vectors/circuit_psi.json`, which the slow reference made: every message and every share.

use atoll_primitives::stream::Secret;
use atoll_psi::Refusal;
use atoll_psi::circuit::{Machine, Output, Parameters, Role};
use serde_json::Value;
use sha2::{Digest, Sha256};

type Pair = [Machine<Vec<u8>>; 2];

/// A message that was sent: by whom, at which step, what.
struct Sent {
    from: usize,
    step: String,
    bytes: Vec<u8>,
}

fn vectors() -> Value {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../vectors/circuit_psi.json"
    );
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
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
    let text = text(value);
    (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn machine(case: &Value, side: usize) -> Machine<Vec<u8>> {
    let parties = list(&case["parties"]);
    let items = |side: usize| list(&parties[side]["digests"]).len() as u64;
    let words = |side: usize| number(&parties[side]["words"]);
    let own = &parties[side];
    let parameters = Parameters {
        attempt: number(&case["attempt"]) as u32,
        channel: text(&case["channel"]).to_owned(),
        context: unhex(&case["context"]),
        role: Role::parse(text(&own["role"])).unwrap(),
        placer_items: items(0),
        mapper_items: items(1),
        multiplicity: number(&case["multiplicity"]) as u32,
        placer_words: words(0),
        mapper_words: words(1),
        threads: 1,
    };
    let seed = Secret::new(unhex(&own["seed"]).try_into().unwrap());
    let digests = list(&own["digests"]).iter().flat_map(unhex).collect();
    let payload = list(&own["payload"])
        .iter()
        .flat_map(|row| list(row).iter().map(|word| text(word).parse().unwrap()))
        .collect();
    Machine::new(&seed, parameters, digests, payload).unwrap()
}

fn pair(case: &Value) -> Pair {
    [machine(case, 0), machine(case, 1)]
}

/// Runs both to their end; `change` is what becomes of the message of each number.
fn run(pair: &mut Pair, change: impl Fn(usize, &[u8]) -> Vec<u8>) -> Result<Vec<Sent>, Refusal> {
    let mut sent = Vec::new();
    while !(pair[0].done() && pair[1].done()) {
        let before = sent.len();
        for from in 0..2 {
            while let Some(message) = pair[from].next_message()? {
                pair[1 - from].receive(&change(sent.len(), &message.bytes))?;
                sent.push(Sent {
                    from,
                    step: message.step,
                    bytes: message.bytes,
                });
            }
        }
        assert!(sent.len() > before, "nobody can send");
    }
    Ok(sent)
}

fn honest(_: usize, message: &[u8]) -> Vec<u8> {
    message.to_vec()
}

/// The number of the message that `change` is about, and the change.
fn changed(change: &Value) -> (usize, impl Fn(usize, &[u8]) -> Vec<u8>) {
    let at = number(&change["message"]);
    let (start, end) = (number(&change["start"]), number(&change["end"]));
    let put = unhex(&change["put"]);
    (at, move |number: usize, message: &[u8]| {
        if number == at {
            [&message[..start], &put, &message[end..]].concat()
        } else {
            message.to_vec()
        }
    })
}

/// Whether a message is the one of the vectors, long ones by their hash.
fn is(expected: &Value, sent: &Sent) -> bool {
    let same = match expected["bytes"].as_str() {
        Some(bytes) => bytes == hex(&sent.bytes),
        None => {
            number(&expected["length"]) == sent.bytes.len()
                && text(&expected["sha256"]) == hex(&Sha256::digest(&sent.bytes))
        }
    };
    let from = ["placer", "mapper"][sent.from];
    same && text(&expected["from"]) == from && text(&expected["step"]) == sent.step
}

fn matched(output: &Output) -> String {
    let bytes: Vec<u8> = output
        .matched
        .iter()
        .flat_map(|w| w.to_le_bytes())
        .collect();
    hex(&bytes[..output.bins.div_ceil(8)])
}

fn words(output: &Output) -> Vec<u8> {
    output.words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

#[test]
fn every_message_and_share_is_that_of_the_reference() {
    let vectors = vectors();
    let cases = list(&vectors["cases"]);
    assert!(cases.len() >= 4);
    for case in cases {
        let name = text(&case["name"]);
        let mut pair = pair(case);
        let sent = run(&mut pair, honest).unwrap();
        let expected = list(&case["messages"]);
        assert_eq!(sent.len(), expected.len(), "{name}");
        for (expected, sent) in expected.iter().zip(&sent) {
            assert!(is(expected, sent), "{name}: {}", sent.step);
        }
        for (side, machine) in pair.iter().enumerate() {
            let (output, expected) = (machine.output().unwrap(), &case["shares"][side]);
            assert_eq!(output.bins, number(&case["bins"]), "{name}");
            assert_eq!(matched(&output), text(&expected["matched"]), "{name}");
            assert_eq!(hex(&words(&output)), text(&expected["words"]), "{name}");
        }
        let rows = list(&case["rows"]).iter();
        let rows = rows.map(|row| row.as_u64().map_or(u32::MAX, |row| row as u32));
        let found = pair[0].output().unwrap().rows.unwrap();
        assert_eq!(found, rows.collect::<Vec<_>>(), "{name}");
        assert!(pair[1].output().unwrap().rows.is_none());
    }
}

#[test]
fn a_message_with_one_other_bit_is_not_that_of_the_reference() {
    let vectors = vectors();
    let case = &vectors["cases"][number(&vectors["changed_case"])];
    let mut sent = run(&mut pair(case), honest).unwrap();
    for (k, (expected, sent)) in list(&case["messages"]).iter().zip(&mut sent).enumerate() {
        let at = k * 7919 % sent.bytes.len();
        sent.bytes[at] ^= 1 << (k % 8);
        assert!(!is(expected, sent), "{}", sent.step);
    }
}

#[test]
fn altered_messages_give_the_shares_of_the_reference() {
    let vectors = vectors();
    let case = &vectors["cases"][number(&vectors["changed_case"])];
    let cases = list(&vectors["altered"]);
    assert!(cases.len() >= 10);
    for altered in cases {
        let name = text(&altered["name"]);
        let mut pair = pair(case);
        run(&mut pair, changed(altered).1).unwrap();
        let mut other = false;
        for (side, machine) in pair.iter().enumerate() {
            let (output, expected) = (machine.output().unwrap(), &altered["shares"][side]);
            assert_eq!(matched(&output), text(&expected["matched"]), "{name}");
            let hash = hex(&Sha256::digest(words(&output)));
            assert_eq!(hash, text(&expected["words_sha256"]), "{name}");
            let honest = &case["shares"][side];
            other |= hex(&words(&output)) != text(&honest["words"])
                || matched(&output) != text(&honest["matched"]);
        }
        assert!(other, "{name}");
    }
}

#[test]
fn malformed_messages_are_refused_where_the_reference_refuses_them() {
    let vectors = vectors();
    let case = &vectors["cases"][number(&vectors["changed_case"])];
    let sent = run(&mut pair(case), honest).unwrap();
    let cases = list(&vectors["malformed"]);
    assert!(cases.len() >= 30);
    for malformed in cases {
        let name = text(&malformed["name"]);
        let (at, change) = changed(malformed);
        // What came before is sent and received as it was, so that the changed message is the first that is wrong.
        let side = 1 - sent[at].from;
        let mut machine = machine(case, side);
        for before in &sent[..at] {
            if before.from == side {
                let own = machine.next_message().unwrap().unwrap();
                assert_eq!(own.bytes, before.bytes, "{name}");
            } else {
                machine.receive(&before.bytes).unwrap();
            }
        }
        let refusal = machine.receive(&change(at, &sent[at].bytes)).unwrap_err();
        assert_eq!(refusal.code, text(&malformed["code"]), "{name}");
        assert_eq!(machine.next_message().unwrap_err().code, "E_STATE");
    }
}
