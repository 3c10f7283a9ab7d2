//! Products under encryption, against products of integers.

use atoll_primitives::stream::Stream;

use super::*;

fn words(name: &str) -> Vec<u64> {
    let mut stream = Stream::derive(b"rlwe", &[name.as_bytes()]);
    let edges = [0, 1, u64::MAX, 1 << 63, (1 << 63) - 1];
    (0..SLOTS)
        .map(|at| match at % 7 {
            0 => edges[at / 7 % 5],
            _ => u64::from_le_bytes(stream.bytes()),
        })
        .collect()
}

fn wide_words(name: &str) -> Vec<u128> {
    let mut stream = Stream::derive(b"rlwe", &[name.as_bytes()]);
    let edges = [0, 1, u128::MAX, 1 << 127, (1 << 127) - 1, u128::MAX << 64];
    (0..SLOTS)
        .map(|at| match at % 7 {
            0 => edges[at / 7 % 6],
            _ => u128::from_le_bytes(stream.bytes()),
        })
        .collect()
}

/// A sum of products and a mask under one question of each plaintext prime.
fn an_answer_opens<W: Word + PartialEq>(words: impl Fn(&str) -> Vec<W>) {
    let holder = Holder::new(&mut Stream::derive(b"rlwe", &[b"holder"]), W::PLAIN);
    let mut randomness = Stream::derive(b"rlwe", &[b"e"]);
    let evaluator = Evaluator::new(holder.keys(), W::PLAIN, &mut randomness).unwrap();
    let [a0, b0, a1, b1] = ["a0", "b0", "a1", "b1"].map(words);
    let mut opened = Vec::new();
    let mut masks = Vec::new();
    for plain in 0..W::PLAIN {
        let number = 30 + plain as u64;
        let [a0, b0, a1, b1] = [&a0, &b0, &a1, &b1].map(|words| residues(plain, words));
        let question = holder.ask(number, plain, [a0.clone(), b0.clone()], &[7]);
        assert_eq!(question.len(), 1 + QUESTION_LEN);
        let own = [a1.clone(), b1.clone()];
        let (answer, mask) = (evaluator.answer(number, plain, &question[1..], own, &[8])).unwrap();
        assert_eq!(answer.len(), 1 + ANSWER_LEN);
        let found = holder.open(plain, &answer[1..]).unwrap();
        let p = PRIMES[index(plain)];
        for at in 0..SLOTS {
            let sum = p.add(p.mul(a0[at], b1[at]), p.mul(a1[at], b0[at]));
            assert_eq!(found[at], p.add(sum, mask[at]), "{plain} {at}");
        }
        opened.push(found);
        masks.push(mask);
    }
    let values = |residues: &[Vec<u64>]| {
        let mut out = vec![W::default(); SLOTS];
        combine(residues, |at, value| out[at] = value);
        out
    };
    let (opened, masks) = (values(&opened), values(&masks));
    for at in 0..SLOTS {
        let sum = a0[at].times(b1[at]).plus(a1[at].times(b0[at]));
        assert_eq!(opened[at].minus(masks[at]), sum);
    }
}

#[test]
fn an_answer_opens_to_the_masked_sum_of_products() {
    an_answer_opens(words);
    an_answer_opens(wide_words);
}

#[test]
fn residues_are_those_of_signed_words() {
    let words = wide_words("a0");
    for plain in 0..WIDE_PLAIN {
        let q = i128::from(PRIMES[index(plain)].q);
        for (word, residue) in words.iter().zip(residues(plain, &words)) {
            assert_eq!(i128::from(residue), (*word as i128).rem_euclid(q));
        }
    }
}

#[test]
fn matrices_of_many_blocks_are_multiplied_in_parts() {
    // More rows of blocks than are added up together, with three columns of blocks at once.
    for (sizes, blocks) in [
        ([172, 3, 3], [1, 2, 1]),
        ([40, 7, 11], [3, 7, 4]),
        ([9, 33, 5], [2, 2, 2]),
    ] {
        let plan = Plan::of(sizes, blocks);
        let [rows, inner, columns] = sizes;
        let holder = BlockHolder::new(&mut Stream::derive(b"rlwe", &[b"holder"]));
        let (left, right) = (words("left"), words("right"));
        let (left, right) = (left.repeat(3), &right[..inner * columns]);
        let left = &left[..rows * inner];
        let mut randomness = Stream::derive(b"rlwe", &[b"e"]);
        let mut evaluator =
            BlockEvaluator::new(holder.keys(), &mut randomness, plan, left).unwrap();
        let [row_blocks, inner_blocks, column_blocks] = plan.counts();
        let mut shares = [vec![0; rows * columns], vec![0; rows * columns]];
        let mut answered = 0;
        for number in 0..inner_blocks * column_blocks {
            let block = [number % inner_blocks, number / inner_blocks];
            let asked = holder.ask(number as u64, &plan, right, block, &[]);
            evaluator.take(number as u64, &asked).unwrap();
            let group = inner_blocks * plan.group();
            if !(number + 1).is_multiple_of(group) && number + 1 != inner_blocks * column_blocks {
                continue;
            }
            for (answer, masks) in evaluator.answer(&[]) {
                let block = [answered % row_blocks, answered / row_blocks];
                let opened = holder.open(&plan, &answer).unwrap();
                plan.put(block, &opened, &mut shares[0]);
                plan.put(block, &masks, &mut shares[1]);
                answered += 1;
            }
        }
        assert_eq!(answered, row_blocks * column_blocks);
        for row in 0..rows {
            for column in 0..columns {
                let sum = (0..inner).fold(0, |sum: u64, at| {
                    let (x, y) = (left[row * inner + at], right[at * columns + column]);
                    sum.wrapping_add(x.wrapping_mul(y))
                });
                let at = row * columns + column;
                assert_eq!(
                    shares[0][at].wrapping_sub(shares[1][at]),
                    sum,
                    "{row} {column}"
                );
            }
        }
    }
}

/// The noise of an answer is far from where it would be read wrongly, and looks like the flood alone.
#[test]
fn a_flooded_answer_has_the_flood_s_spread() {
    let holder = Holder::new(&mut Stream::derive(b"rlwe", &[b"holder"]), PLAIN);
    let evaluator =
        Evaluator::new(holder.keys(), PLAIN, &mut Stream::derive(b"rlwe", &[b"e"])).unwrap();
    let own = || [(); 2].map(|()| residues(0, &words("a0")));
    let question = holder.ask(0, 0, own(), &[]);
    let (answer, _) = evaluator.answer(0, 0, &question, own(), &[]).unwrap();
    let noise = holder.noise(0, &answer);
    let most = noise.iter().fold(0f64, |most, x| most.max(x.abs()));
    // In parts of Q / 2, beyond which an answer is read wrongly.
    assert!(most < 0.6, "{most}");
    let spread = (noise.iter().map(|x| x * x).sum::<f64>() / SLOTS as f64).sqrt();
    // Flood: 2^120 / 2 / R, in Q / 2: 2^-4; bits dropped: 2^60 / sqrt 12 / (Q / 2) = 0.144; those of the second part 0.04.
    let expected = (0.0625f64.powi(2) + 0.1443f64.powi(2) + 0.042f64.powi(2)).sqrt();
    assert!((spread / expected - 1.0).abs() < 0.1, "{spread} {expected}");
}

#[test]
fn malformed_messages_are_refused() {
    let holder = Holder::new(&mut Stream::derive(b"rlwe", &[b"holder"]), PLAIN);
    let evaluator = |bytes: &[u8]| {
        Evaluator::new(bytes, PLAIN, &mut Stream::derive(b"rlwe", &[b"e"])).map(|_| ())
    };
    let with = |good: &[u8], at: usize| {
        let mut bad = good.to_vec();
        bad[at..at + 16].fill(255);
        bad
    };
    let keys = holder.keys().to_vec();
    for bad in [
        &keys[1..],
        &[],
        &[&keys[..], &[0]].concat(),
        &with(&keys, 100_000),
    ] {
        assert_eq!(evaluator(bad).unwrap_err().code, "E_PROTOCOL");
    }
    let evaluator = Evaluator::new(&keys, PLAIN, &mut Stream::derive(b"rlwe", &[b"e"])).unwrap();
    let own = || [(); 2].map(|()| residues(0, &words("a0")));
    let question = holder.ask(0, 0, own(), &[]);
    let ask = |bytes: &[u8]| evaluator.answer(0, 0, bytes, own(), &[]);
    for bad in [
        &question[1..],
        &[],
        &[&question[..], &[0]].concat(),
        &with(&question, 5000),
        &with(&question, QUESTION_LEN - 16),
    ] {
        assert_eq!(ask(bad).unwrap_err().code, "E_PROTOCOL");
    }
    let (answer, _) = ask(&question).unwrap();
    for bad in [
        &answer[1..],
        &[],
        &[&answer[..], &[0]].concat(),
        &with(&answer, 80),
        &with(&answer, ANSWER_LEN - 16),
    ] {
        assert_eq!(holder.open(0, bad).unwrap_err().code, "E_PROTOCOL");
    }
}
