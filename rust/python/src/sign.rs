//! Python face of the Ed25519 signatures.

use pyo3::prelude::*;
use pyo3::types::PyBytes;

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

#[pyfunction]
fn ed25519_verify_batch(py: Python<'_>, items: Vec<(Vec<u8>, Vec<u8>, Vec<u8>)>) -> PyResult<bool> {
    let mut parsed = Vec::with_capacity(items.len());
    for (key, message, signature) in &items {
        parsed.push((
            fixed::<32>("key", key)?,
            message.as_slice(),
            fixed::<64>("signature", signature)?,
        ));
    }
    Ok(py
        .detach(|| atoll_primitives::sign::verify_batch(parsed.iter().map(|(k, m, s)| (k, *m, s)))))
}

pub(crate) fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(ed25519_public, m)?)?;
    m.add_function(wrap_pyfunction!(ed25519_sign, m)?)?;
    m.add_function(wrap_pyfunction!(ed25519_verify, m)?)?;
    m.add_function(wrap_pyfunction!(ed25519_verify_batch, m)?)
}
