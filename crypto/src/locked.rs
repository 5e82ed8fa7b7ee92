//! Memory for secrets that are held for long: never swapped, never in a core dump, between guard pages, wiped when
//! freed. libsodium's allocator; native targets only.

#![allow(unsafe_code)]

use std::ptr::NonNull;

use libsodium_sys as sodium;

/// Bytes in locked memory. Has no `Debug`, no `Clone`.
pub struct LockedBytes {
    start: NonNull<u8>,
    len: usize,
    locked: bool,
}

// SAFETY: the allocation is owned by this value alone, and `&self` gives shared read access only.
unsafe impl Send for LockedBytes {}
// SAFETY: as above.
unsafe impl Sync for LockedBytes {}

impl LockedBytes {
    /// Copies bytes into locked memory. Where the system refuses to lock (`RLIMIT_MEMLOCK`), the bytes are still kept
    /// apart and wiped, and [`LockedBytes::is_locked`] says so.
    ///
    /// # Panics
    /// When the system has no memory left.
    pub fn copy_of(bytes: &[u8]) -> Self {
        crate::secretbox::init_sodium();
        let len = bytes.len();
        // SAFETY: sodium_malloc has no precondition after sodium_init; null is checked below. The allocation holds at
        // least one byte and `len` bytes are copied into it from a live slice that cannot overlap it.
        unsafe {
            let start = sodium::sodium_malloc(len.max(1)).cast::<u8>();
            let start = NonNull::new(start).expect("the system has memory for a session");
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), start.as_ptr(), len);
            // The allocator locks too, but does not tell whether it could.
            let locked = sodium::sodium_mlock(start.as_ptr().cast(), len.max(1)) == 0;
            LockedBytes { start, len, locked }
        }
    }

    /// Whether the system locked the memory.
    pub fn is_locked(&self) -> bool {
        self.locked
    }
}

impl std::ops::Deref for LockedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `start` points at `len` initialised bytes that live as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl Drop for LockedBytes {
    fn drop(&mut self) {
        // SAFETY: `start` came from sodium_malloc and is freed once; sodium_free wipes and unlocks it.
        unsafe { sodium::sodium_free(self.start.as_ptr().cast()) }
    }
}

#[cfg(test)]
mod tests {
    use super::LockedBytes;

    #[test]
    fn holds_what_it_was_given() {
        for len in [0, 1, 31, 4096, 10_000] {
            let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
            assert_eq!(&*LockedBytes::copy_of(&bytes), bytes);
        }
    }
}
