//! Ed25519 by one verification rule everywhere: ZIP-215, so that single and batch verification agree.

use ed25519_zebra::{Signature, SigningKey, VerificationKey, VerificationKeyBytes, batch};

/// Signs `message` with a 32-byte Ed25519 seed.
pub fn sign(seed: &[u8; 32], message: &[u8]) -> [u8; 64] {
    SigningKey::from(*seed).sign(message).into()
}

/// The public key of a 32-byte Ed25519 seed.
pub fn public(seed: &[u8; 32]) -> [u8; 32] {
    VerificationKeyBytes::from(&SigningKey::from(*seed)).into()
}

/// True when `signature` over `message` verifies under `key` by ZIP-215.
pub fn verify(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    VerificationKey::try_from(*key)
        .and_then(|k| k.verify(&Signature::from(*signature), message))
        .is_ok()
}

/// True when every `(key, message, signature)` verifies. One failure fails the batch.
pub fn verify_batch<'a>(
    items: impl IntoIterator<Item = (&'a [u8; 32], &'a [u8], &'a [u8; 64])>,
) -> bool {
    let mut verifier = batch::Verifier::new();
    for (key, message, signature) in items {
        verifier.queue((
            VerificationKeyBytes::from(*key),
            Signature::from(*signature),
            &message,
        ));
    }
    verifier
        .verify(rand_core::UnwrapErr(getrandom::SysRng))
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_verifies_and_a_flipped_bit_does_not() {
        let seed = [7u8; 32];
        let key = public(&seed);
        let mut signature = sign(&seed, b"lagoon");
        assert!(verify(&key, b"lagoon", &signature));
        assert!(verify_batch([(&key, &b"lagoon"[..], &signature)]));
        assert!(!verify(&key, b"lagoom", &signature));
        signature[3] ^= 1;
        assert!(!verify(&key, b"lagoon", &signature));
        assert!(!verify_batch([(&key, &b"lagoon"[..], &signature)]));
    }
}
