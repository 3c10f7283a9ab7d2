//! Arrays of words that Python holds, read where they are.
#![allow(unsafe_code)]

use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::refuse;

/// Words of an array that Python keeps alive and nobody writes to while this stands.
pub(crate) struct Words(PyBuffer<u64>);

// SAFETY: the memory is read only, and the buffer is held; see `as_slice`.
unsafe impl Sync for Words {}

impl Words {
    /// The words in order.
    pub(crate) fn as_slice(&self) -> &[u64] {
        if self.0.item_count() == 0 {
            return &[];
        }
        // SAFETY: the buffer is contiguous, aligned and of native u64, as `extract` checked, and stays exported while `self` lives.
        // `atoll.crypto.arrays` and `triples`, which alone call these functions, hand over arrays that nobody writes to.
        unsafe { std::slice::from_raw_parts(self.0.buf_ptr().cast(), self.0.item_count()) }
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Words {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let buffer: PyBuffer<u64> = object.extract()?;
        if !buffer.is_c_contiguous() {
            return Err(refuse("E_FORMAT", "an array of shares is not contiguous"));
        }
        Ok(Self(buffer))
    }
}

/// New bytes of so many words, made by `fill` without the interpreter's lock.
pub(crate) fn new_words<'py, E: Send>(
    py: Python<'py>,
    words: usize,
    fill: impl FnOnce(&mut [u64]) -> Result<(), E> + Send,
    refused: impl FnOnce(E) -> PyErr,
) -> PyResult<Bound<'py, PyBytes>> {
    PyBytes::new_with(py, 8 * words, |bytes| {
        // SAFETY: every pattern of bits is a word.
        let (before, inside, behind) = unsafe { bytes.align_to_mut::<u64>() };
        let done = if before.is_empty() && behind.is_empty() {
            py.detach(|| fill(inside))
        } else {
            let mut words = vec![0; words];
            let done = py.detach(|| fill(&mut words));
            for (slot, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
                *slot = word.to_ne_bytes();
            }
            done
        };
        done.map_err(refused)
    })
}

/// Memory that the process may keep for the next arrays once it is free.
const KEPT_BYTES: i32 = 256 << 20;
/// Arrays from here on are given back to the system at once: glibc takes no larger bound.
const LARGE_BYTES: i32 = 32 << 20;

/// Has the allocator keep what is freed, up to a bound: an array that is new to the process costs as much in page faults as
/// is computed on it. Only where glibc allocates.
#[pyfunction]
pub(crate) fn array_keep_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: sets numbers of the allocator; any are valid, and those out of range are refused.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_BYTES);
        libc::mallopt(libc::M_TOP_PAD, 2 * LARGE_BYTES);
    }
}
