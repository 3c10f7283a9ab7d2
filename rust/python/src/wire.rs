//! Python face of the frame codec, for what is framed outside TLS and for tests of the codec.

use atoll_wire::{FrameReader, Header, Kind, WireError, check_body, encode_prefix};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::refuse;

pub(crate) fn refuse_wire(error: &WireError) -> PyErr {
    refuse(
        if matches!(error, WireError::TooLarge { .. }) {
            "E_TOO_LARGE"
        } else {
            "E_WIRE"
        },
        error.to_string(),
    )
}

/// One frame: length, header, payload.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
fn frame_encode<'py>(
    py: Python<'py>,
    kind: u8,
    name: String,
    sequence: u64,
    piece: u32,
    last: bool,
    step: String,
    payload: &[u8],
    limit: usize,
) -> PyResult<Bound<'py, PyBytes>> {
    let kind = Kind::from_number(kind).map_err(|e| refuse_wire(&e))?;
    let header = Header {
        kind,
        name,
        sequence,
        piece,
        last,
        step,
    };
    let mut out = encode_prefix(&header, payload.len(), limit).map_err(|e| refuse_wire(&e))?;
    out.extend_from_slice(payload);
    Ok(PyBytes::new(py, &out))
}

/// The frames in `data`; a frame that does not end is an error.
#[pyfunction]
#[allow(clippy::type_complexity)]
fn frames_decode<'py>(
    py: Python<'py>,
    data: &[u8],
    limit: usize,
) -> PyResult<Vec<(u8, String, u64, u32, bool, String, Bound<'py, PyBytes>)>> {
    let mut reader = FrameReader::new(limit);
    reader.push(data).map_err(|e| refuse_wire(&e))?;
    if reader.in_frame() {
        return Err(refuse("E_WIRE", "the last frame is truncated"));
    }
    Ok(std::iter::from_fn(|| reader.next_frame())
        .map(|f| {
            let payload = PyBytes::new(py, f.payload());
            let Header {
                kind,
                name,
                sequence,
                piece,
                last,
                step,
            } = f.header;
            (kind as u8, name, sequence, piece, last, step, payload)
        })
        .collect())
}

/// Refuses a body that is not plain CBOR data in deterministic form.
#[pyfunction]
fn cbor_check(data: &[u8]) -> PyResult<()> {
    check_body(data).map_err(|e| refuse_wire(&e))
}

pub(crate) fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(frame_encode, m)?)?;
    m.add_function(wrap_pyfunction!(frames_decode, m)?)?;
    m.add_function(wrap_pyfunction!(cbor_check, m)?)
}
