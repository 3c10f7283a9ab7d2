//! Private set intersection: key encoding and the ECDH protocol, as pure steps without I/O or clock.

pub mod distinct;
pub mod ecdh;
pub mod group;
pub mod keys;
mod messages;
pub mod normalise;

/// Why a step refused its input: a stable code of `atoll.errors.CODES` and a text for the owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Stable error code.
    pub code: &'static str,
    /// What happened; may name the owner's column and row, never a peer's value.
    pub text: String,
}

impl Refusal {
    pub(crate) fn new(code: &'static str, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }

    pub(crate) fn protocol(text: impl Into<String>) -> Self {
        Self::new("E_PROTOCOL", text)
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.text)
    }
}

impl std::error::Error for Refusal {}

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
