//! Private set intersection: key encoding, the ECDH protocol, the one from VOLE, what several
//! parties need, and the kept OPRF, as pure steps without I/O or clock.

pub mod circuit;
pub mod distinct;
pub mod ecdh;
pub mod group;
pub mod kept_messages;
pub mod kept_oprf;
pub mod kept_store;
pub mod kept_update;
pub mod keys;
mod messages;
pub mod normalise;
pub mod opprf;
pub mod partition;
pub mod select;
pub mod vole_psi;
pub mod voprf;
pub mod zero_shares;

pub use atoll_ot::Party;
pub use atoll_primitives::refusal::Refusal;

/// A worker pool of exactly `threads` threads.
pub fn pool(threads: usize) -> Result<rayon::ThreadPool, Refusal> {
    if !(1..=1024).contains(&threads) {
        return Err(Refusal::new(
            "E_FORMAT",
            format!("threads is 1 to 1024, got {threads}"),
        ));
    }
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|error| {
            Refusal::new(
                "E_MEMORY",
                format!("cannot start {threads} threads: {error}"),
            )
        })
}
