//! Python face of the pairwise masks and of the labelled streams that they are made of.

use atoll_primitives::stream::{Secret, Stream};
use atoll_shares::masks::{EphemeralKey, Peer, masked, sum};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::refuse;

pub(crate) fn fixed(name: &str, bytes: &[u8]) -> PyResult<[u8; 32]> {
    bytes.try_into().map_err(|_| {
        refuse(
            "E_FORMAT",
            format!("{name} has 32 bytes, got {}", bytes.len()),
        )
    })
}

pub(crate) fn key(seed: &[u8], attempt: u32, channel: &str) -> PyResult<EphemeralKey> {
    Ok(EphemeralKey::draw(
        &Secret::new(fixed("seed", seed)?),
        attempt,
        channel,
    ))
}

/// Identifiers and ephemeral keys of others.
pub(crate) fn parse_peers(peers: Vec<(Vec<u8>, Vec<u8>)>) -> PyResult<Vec<Peer>> {
    let parse = |(id, public): (Vec<u8>, Vec<u8>)| {
        Ok(Peer {
            id,
            public: fixed("an ephemeral key", &public)?,
        })
    };
    peers.into_iter().map(parse).collect()
}

fn refused(refusal: atoll_shares::Refusal) -> PyErr {
    refuse(refusal.code, refusal.text)
}

#[pyfunction]
fn masks_public<'py>(
    py: Python<'py>,
    seed: &[u8],
    attempt: u32,
    channel: &str,
) -> PyResult<Bound<'py, PyBytes>> {
    Ok(PyBytes::new(py, &key(seed, attempt, channel)?.public()))
}

#[pyfunction]
#[allow(clippy::too_many_arguments)]
fn masks_apply<'py>(
    py: Python<'py>,
    values: PyBackedBytes,
    seed: &[u8],
    attempt: u32,
    channel: &str,
    me: &[u8],
    peers: Vec<(Vec<u8>, Vec<u8>)>,
    context: &[u8],
    label: &str,
) -> PyResult<Bound<'py, PyBytes>> {
    let key = key(seed, attempt, channel)?;
    let peers = parse_peers(peers)?;
    let out = py
        .detach(|| masked(&values, &key, me, &peers, context, label))
        .map_err(refused)?;
    Ok(PyBytes::new(py, &out))
}

#[pyfunction]
fn masks_sum<'py>(py: Python<'py>, vectors: Vec<PyBackedBytes>) -> PyResult<Bound<'py, PyBytes>> {
    let out = py
        .detach(|| sum(&vectors.iter().map(|v| &v[..]).collect::<Vec<_>>()))
        .map_err(refused)?;
    Ok(PyBytes::new(py, &out))
}

#[pyfunction]
fn stream_bytes<'py>(
    py: Python<'py>,
    seed: &[u8],
    attempt: u32,
    channel: &str,
    step: &str,
    length: usize,
) -> PyResult<Bound<'py, PyBytes>> {
    let mut stream = Stream::new(&Secret::new(fixed("seed", seed)?), attempt, channel, step);
    PyBytes::new_with(py, length, |out| {
        stream.fill_bytes(out);
        Ok(())
    })
}

pub(crate) fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(masks_public, m)?)?;
    m.add_function(wrap_pyfunction!(masks_apply, m)?)?;
    m.add_function(wrap_pyfunction!(masks_sum, m)?)?;
    m.add_function(wrap_pyfunction!(stream_bytes, m)?)
}
