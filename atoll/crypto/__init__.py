"""Thin typed face of the Rust core. Nothing outside this package imports `atoll._core`."""
