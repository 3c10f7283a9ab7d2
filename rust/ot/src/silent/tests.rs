//! A sender that cheats in its trees, and answers the check for what it sent.

use super::*;

fn parameters() -> Parameters {
    Parameters {
        size: 500,
        bits: 128,
        security: Security::Malicious,
        threads: 1,
        context: [6; 16],
    }
}

/// Runs both sides; the sender changes the bytes at `places` of its trees' message before it is bound to it.
fn run(places: &[usize]) -> Result<(), Refusal> {
    let mut sender = Sender::new(parameters(), Stream::derive(b"silent", &[b"sender"]))?;
    let mut receiver: Receiver<u128> =
        Receiver::new(parameters(), Stream::derive(b"silent", &[b"receiver"]))?;
    let first = sender.next_message()?.unwrap();
    receiver.receive(&first)?;
    let mut body = Vec::new();
    while let Some(m) = receiver.next_message()? {
        sender.receive(&m)?;
        body.extend_from_slice(&m[1..]);
    }
    let mut trees = sender.next_message()?.unwrap();
    places.iter().for_each(|at| trees[1 + at] ^= 1);
    let (reply, extension) = body.split_at(REPLY_LEN);
    let bound = digest(&[&first[1..], reply]);
    let sent = digest(&[&digest(&[&bound, extension]), &trees[1..]]);
    let SenderState::Challenge { transcript, .. } = &mut sender.state else {
        panic!("no check is due");
    };
    assert_eq!(places.is_empty(), *transcript == sent);
    *transcript = sent;
    receiver.receive(&trees)?;
    sender.receive(&receiver.next_message()?.unwrap())?;
    receiver.receive(&sender.next_message()?.unwrap())
}

#[test]
fn wrong_sums_are_caught() {
    assert_eq!(run(&[]), Ok(()));
    let last = Parameters::trees_len(&Noise::new(500, 128).unwrap()) - 1;
    // Both sums of a level, so that either path meets it; then the sum of all leaves of the last tree.
    for places in [&[0, 16][..], &[4 * 16, 5 * 16], &[last]] {
        assert_eq!(run(places).unwrap_err().code, "E_PROTOCOL");
    }
}

#[test]
fn a_guess_of_a_path_passes_where_it_is_right() {
    // What a cheating sender learns from an abort: a path uses one of the two sums of a level.
    let passed = [0, 16].iter().filter(|at| run(&[**at]).is_ok()).count();
    assert_eq!(passed, 1);
}
