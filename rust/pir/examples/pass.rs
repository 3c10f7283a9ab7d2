//! Measures the pass: `cargo run --release -p atoll-pir --example pass -- ROWS RECORD_BYTES`.
//!
//! Prints the bandwidth of a plain read of as many bytes in the same run, then record bytes a second for one
//! query and for eight in one pass, by every path of this processor; best of nine. `benchmarks/pir.py` measures
//! the fastest path beside a wider read, and all else.

use std::hint::black_box;
use std::time::Instant;

use atoll_pir::kernel::Split;
use atoll_pir::{Layout, Path, Table};

fn best(bytes: usize, mut work: impl FnMut()) -> f64 {
    let mut least = f64::INFINITY;
    for _ in 0..9 {
        let start = Instant::now();
        work();
        least = least.min(start.elapsed().as_secs_f64());
    }
    bytes as f64 / least / 1e9
}

fn main() {
    let mut sizes = std::env::args()
        .skip(1)
        .map(|text| text.parse().expect("a number"));
    let (rows, size) = (sizes.next().unwrap_or(1 << 20), sizes.next().unwrap_or(32));
    let layout = Layout::new(rows, size).expect("a table within bounds");
    let records = vec![0x5a; rows * size];
    let (words, _) = records.as_chunks::<8>();
    let read = best(records.len(), || {
        let sum = words.iter().fold(0u64, |sum, word| {
            sum.wrapping_add(u64::from_le_bytes(*word))
        });
        black_box(sum);
    });
    println!("read {read:.1} GB/s");
    let table = Table::new(layout, [0; 16], &records).expect("records of the table");
    for count in [1, 8] {
        let word = |j: usize| (j as u32).wrapping_mul(0x9e37_79b9);
        let vectors: Vec<Split> = (0..count)
            .map(|_| Split::new((0..layout.columns()).map(word).collect()))
            .collect();
        for path in Path::ALL.into_iter().filter(|path| path.available()) {
            let rate = best(records.len() * count, || {
                black_box(table.products(path, &vectors));
            });
            println!("{path:?}, {count} queries: {rate:.1} GB/s in sum");
        }
    }
}
