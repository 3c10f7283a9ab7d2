//! Why a step refused its input.

/// Why a step refused its input: a stable code of `atoll.errors.CODES` and a text for the owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Stable error code.
    pub code: &'static str,
    /// What happened; may name the owner's column and row, never a peer's value.
    pub text: String,
}

impl Refusal {
    /// A refusal with a code of `atoll.errors.CODES`.
    pub fn new(code: &'static str, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }

    /// The peer broke the protocol.
    pub fn protocol(text: impl Into<String>) -> Self {
        Self::new("E_PROTOCOL", text)
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.text)
    }
}

impl std::error::Error for Refusal {}
