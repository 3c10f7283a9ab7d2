//! Python face of the Ed25519 signatures.

use atoll_primitives::sign::{Claim, failures, parallel_failures};
use atoll_psi::pool;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::psi::refused;
use crate::refuse;

fn fixed<const N: usize>(name: &str, bytes: &[u8]) -> PyResult<[u8; N]> {
    bytes.try_into().map_err(|_| {
        refuse(
            "E_FORMAT",
            format!("{name} must be {N} bytes, got {}", bytes.len()),
        )
    })
}

#[pyfunction]
fn ed25519_public<'py>(py: Python<'py>, seed: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    Ok(PyBytes::new(
        py,
        &atoll_primitives::sign::public(&fixed("seed", seed)?),
    ))
}

#[pyfunction]
fn ed25519_sign<'py>(
    py: Python<'py>,
    seed: &[u8],
    message: &[u8],
) -> PyResult<Bound<'py, PyBytes>> {
    Ok(PyBytes::new(
        py,
        &atoll_primitives::sign::sign(&fixed("seed", seed)?, message),
    ))
}

#[pyfunction]
fn ed25519_verify(key: &[u8], message: &[u8], signature: &[u8]) -> PyResult<bool> {
    Ok(atoll_primitives::sign::verify(
        &fixed("key", key)?,
        message,
        &fixed("signature", signature)?,
    ))
}

/// So few signatures are verified in the time that it takes to start threads.
const FEW: usize = 32;

/// Positions of the `(key, message, signature)` that do not verify, rising. The result is the same for any
/// number of threads.
#[pyfunction]
#[pyo3(signature = (items, threads, /))]
fn ed25519_verify_many(
    py: Python<'_>,
    items: Vec<(PyBackedBytes, PyBackedBytes, PyBackedBytes)>,
    threads: usize,
) -> PyResult<Vec<usize>> {
    let found = py.detach(|| {
        let claims: Vec<_> = items
            .iter()
            .map(|(key, message, signature)| Claim {
                key,
                message,
                signature,
            })
            .collect();
        if threads == 1 || (threads > 1 && claims.len() <= FEW) {
            return Ok(failures(&claims));
        }
        let pool = pool(threads)?;
        let share = claims.len().div_ceil(threads);
        Ok(pool.install(|| parallel_failures(&claims, share)))
    });
    found.map_err(refused)
}

pub(crate) fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(ed25519_public, m)?)?;
    m.add_function(wrap_pyfunction!(ed25519_sign, m)?)?;
    m.add_function(wrap_pyfunction!(ed25519_verify, m)?)?;
    m.add_function(wrap_pyfunction!(ed25519_verify_many, m)?)
}
