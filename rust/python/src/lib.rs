//! The one crate that knows Python: it builds `atoll._core`.
//!
//! Every kernel crate below stays free of PyO3, I/O, clocks and threads of its own; this crate converts
//! buffers, releases the interpreter lock around long work, and turns kernel errors into `CoreError`.

use pyo3::prelude::*;

mod arrays;
mod buffers;
mod canonical;
mod circuit;
mod confine;
mod digits;
mod kept;
mod keys;
mod lookup;
mod masks;
mod one_shot;
mod pir;
mod psi;
mod rows;
mod select;
mod sign;
mod star;
mod tls;
mod triples;
mod vole_psi;
mod wire;

pyo3::create_exception!(
    atoll._core,
    CoreError,
    pyo3::exceptions::PyException,
    "A kernel refused its input. `args` is `(code, text)`; the code is one of `atoll.errors.CODES`."
);

/// Builds the exception that every kernel failure becomes.
pub(crate) fn refuse(code: &str, text: impl Into<String>) -> PyErr {
    CoreError::new_err((code.to_owned(), text.into()))
}

#[pymodule]
fn _core(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add("CoreError", m.py().get_type::<CoreError>())?;
    m.add("VERSION", env!("CARGO_PKG_VERSION"))?;
    arrays::register(m)?;
    digits::register(m)?;
    canonical::register(m)?;
    circuit::register(m)?;
    confine::register(m)?;
    sign::register(m)?;
    star::register(m)?;
    kept::register(m)?;
    keys::register(m)?;
    lookup::register(m)?;
    one_shot::register(m)?;
    psi::register(m)?;
    rows::register(m)?;
    select::register(m)?;
    masks::register(m)?;
    pir::register(m)?;
    tls::register(m)?;
    triples::register(m)?;
    vole_psi::register(m)?;
    wire::register(m)
}
