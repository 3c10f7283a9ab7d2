//! Python face of the TLS state machine, with frames cut and joined on this side of the border.

use std::sync::{Mutex, MutexGuard, PoisonError};

use atoll_tls::{Config, Connection, Pins, Role, Sni, TlsError, sni_of_client_hello};
use atoll_wire::{FrameReader, Header, Kind, WireError, encode_prefix};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::refuse;

/// One frame as Python sees it: kind, name, sequence, piece, last, step, payload.
type PyFrame<'py> = (u8, String, u64, u32, bool, String, Bound<'py, PyBytes>);

enum Fault {
    Tls(TlsError),
    Wire(WireError),
}

impl From<TlsError> for Fault {
    fn from(error: TlsError) -> Self {
        Self::Tls(error)
    }
}

impl From<WireError> for Fault {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

impl From<Fault> for PyErr {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Tls(error) => {
                let code = match &error {
                    TlsError::PeerKey(_) => "E_PEER_KEY",
                    TlsError::PeerExpired(_) => "E_PEER_EXPIRED",
                    TlsError::Wire(_) => "E_WIRE",
                    TlsError::Config(_) => "E_CONFIG",
                };
                refuse(code, error.to_string())
            }
            Fault::Wire(error) => crate::wire::refuse_wire(&error),
        }
    }
}

enum Plain {
    Bytes(Vec<u8>),
    Frames(FrameReader, usize),
}

struct State {
    connection: Connection,
    plain: Plain,
    // Kept between calls: a fresh megabyte per call costs more in page faults than in encryption.
    out: Vec<u8>,
}

/// Most plaintext in one TLS record, bytes.
const RECORD: usize = 16 << 10;

/// Largest outgoing buffer that is kept, bytes.
const KEPT: usize = 4 << 20;

#[pyclass(frozen, module = "atoll._core")]
struct TlsConnection(Mutex<State>);

impl TlsConnection {
    fn open(
        role: &Role,
        certificate: &[u8],
        private_key: &[u8],
        pins: Pins,
        now: u64,
        frame_limit: usize,
    ) -> PyResult<Self> {
        let config = Config {
            certificate: certificate.to_vec(),
            private_key: private_key.to_vec(),
            pins,
            now,
        };
        let connection = Connection::new(role, config).map_err(Fault::from)?;
        let plain = match frame_limit {
            0 => Plain::Bytes(Vec::new()),
            limit => Plain::Frames(FrameReader::new(limit), limit),
        };
        Ok(Self(Mutex::new(State {
            connection,
            plain,
            out: Vec::new(),
        })))
    }

    // A poisoned lock means that a kernel panicked; the state behind it is still only bytes.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pins(list: Vec<Vec<u8>>) -> PyResult<Pins> {
    list.into_iter()
        .map(|pin| {
            pin.try_into()
                .map_err(|_| refuse("E_CONFIG", "a certificate fingerprint has 32 bytes"))
        })
        .collect::<PyResult<_>>()
        .map(Pins::Only)
}

#[pymethods]
impl TlsConnection {
    #[staticmethod]
    #[pyo3(signature = (certificate, private_key, pinned, server_name, now, frame_limit = 0))]
    fn client(
        certificate: &[u8],
        private_key: &[u8],
        pinned: Vec<Vec<u8>>,
        server_name: String,
        now: u64,
        frame_limit: usize,
    ) -> PyResult<Self> {
        Self::open(
            &Role::Client { server_name },
            certificate,
            private_key,
            pins(pinned)?,
            now,
            frame_limit,
        )
    }

    #[staticmethod]
    #[pyo3(signature = (certificate, private_key, pinned, now, frame_limit = 0))]
    fn server(
        certificate: &[u8],
        private_key: &[u8],
        pinned: Option<Vec<Vec<u8>>>,
        now: u64,
        frame_limit: usize,
    ) -> PyResult<Self> {
        let pins = pinned.map_or(Ok(Pins::AnyWithProofOfPossession), pins)?;
        Self::open(
            &Role::Server,
            certificate,
            private_key,
            pins,
            now,
            frame_limit,
        )
    }

    fn receive(&self, py: Python<'_>, data: &[u8]) -> PyResult<()> {
        py.detach(|| {
            let State {
                connection, plain, ..
            } = &mut *self.state();
            connection.receive::<Fault>(data, |piece| match plain {
                Plain::Bytes(buffer) => {
                    buffer.extend_from_slice(piece);
                    Ok(())
                }
                Plain::Frames(reader, _) => Ok(reader.push(piece)?),
            })
        })
        .map_err(PyErr::from)
    }

    fn plaintext<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let taken = py.detach(|| match &mut self.state().plain {
            Plain::Bytes(buffer) => std::mem::take(buffer),
            Plain::Frames(..) => Vec::new(),
        });
        PyBytes::new(py, &taken)
    }

    fn frames<'py>(&self, py: Python<'py>) -> Vec<PyFrame<'py>> {
        let taken: Vec<_> = py.detach(|| match &mut self.state().plain {
            Plain::Frames(reader, _) => std::iter::from_fn(|| reader.next_frame()).collect(),
            Plain::Bytes(_) => Vec::new(),
        });
        taken
            .into_iter()
            .map(|frame| {
                let payload = PyBytes::new(py, frame.payload());
                let Header {
                    kind,
                    name,
                    sequence,
                    piece,
                    last,
                    step,
                } = frame.header;
                (kind as u8, name, sequence, piece, last, step, payload)
            })
            .collect()
    }

    #[getter]
    fn in_frame(&self, py: Python<'_>) -> bool {
        py.detach(|| matches!(&self.state().plain, Plain::Frames(reader, _) if reader.in_frame()))
    }

    fn write(&self, py: Python<'_>, data: &[u8]) -> PyResult<()> {
        py.detach(|| self.state().connection.write(&[data]))
            .map_err(|e| Fault::from(e).into())
    }

    #[pyo3(signature = (kind, name, sequence, piece, last, step, payload, start, end))]
    #[allow(clippy::too_many_arguments)]
    fn write_frame(
        &self,
        py: Python<'_>,
        kind: u8,
        name: String,
        sequence: u64,
        piece: u32,
        last: bool,
        step: String,
        payload: &[u8],
        start: usize,
        end: usize,
    ) -> PyResult<()> {
        let part = payload
            .get(start..end)
            .ok_or_else(|| refuse("E_WIRE", "the piece is outside its payload"))?;
        let kind = Kind::from_number(kind).map_err(Fault::from)?;
        let header = Header {
            kind,
            name,
            sequence,
            piece,
            last,
            step,
        };
        py.detach(|| {
            let mut state = self.state();
            let Plain::Frames(_, limit) = state.plain else {
                return Err(Fault::Tls(TlsError::Config(
                    "this connection carries no frames".to_owned(),
                )));
            };
            let mut prefix = encode_prefix(&header, part.len(), limit)?;
            if part.len() > RECORD / 2 {
                return Ok(state.connection.write(&[&prefix, part])?);
            }
            // A small frame costs one record, not two.
            prefix.extend_from_slice(part);
            Ok(state.connection.write(&[&prefix])?)
        })
        .map_err(PyErr::from)
    }

    fn outgoing<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let taken = py.detach(|| {
            let State {
                connection, out, ..
            } = &mut *self.state();
            out.clear();
            connection.outgoing(out).map(|()| std::mem::take(out))
        });
        let taken = taken.map_err(Fault::from)?;
        let bytes = PyBytes::new(py, &taken);
        if taken.capacity() <= KEPT {
            py.detach(|| self.state().out = taken);
        }
        Ok(bytes)
    }

    #[getter]
    fn handshaking(&self, py: Python<'_>) -> bool {
        py.detach(|| self.state().connection.handshaking())
    }

    #[getter]
    fn peer_closed(&self, py: Python<'_>) -> bool {
        py.detach(|| self.state().connection.peer_closed())
    }

    #[getter]
    fn peer_fingerprint<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        py.detach(|| self.state().connection.peer_fingerprint())
            .map(|f| PyBytes::new(py, &f))
    }

    #[getter]
    fn peer_certificate<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        py.detach(|| {
            self.state()
                .connection
                .peer_certificate()
                .map(<[u8]>::to_vec)
        })
        .map(|c| PyBytes::new(py, &c))
    }

    fn exporter<'py>(
        &self,
        py: Python<'py>,
        label: &[u8],
        context: &[u8],
        length: usize,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let value = py.detach(|| self.state().connection.exporter(label, context, length));
        Ok(PyBytes::new(py, &value.map_err(Fault::from)?))
    }

    fn close_notify(&self, py: Python<'_>) {
        py.detach(|| self.state().connection.close_notify());
    }
}

/// `(state, name)`: state is "name", "absent", "incomplete" or "invalid".
#[pyfunction]
#[pyo3(name = "sni_of_client_hello")]
fn sni(data: &[u8]) -> (&'static str, Option<String>) {
    match sni_of_client_hello(data) {
        Sni::Name(name) => ("name", Some(name)),
        Sni::Absent => ("absent", None),
        Sni::Incomplete => ("incomplete", None),
        Sni::Invalid => ("invalid", None),
    }
}

pub(crate) fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<TlsConnection>()?;
    m.add_function(wrap_pyfunction!(sni, m)?)
}
