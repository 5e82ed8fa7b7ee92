//! Pyrgos.
