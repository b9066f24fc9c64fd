//! The allocator: mimalloc, for our code and for the C code that is linked in, librdkafka above all. Each record and each of
//! its headers is allocated by one thread and freed by another, which mostly costs libc's allocator a lock.
//!
//! `build.rs` has the linker call the functions here for `malloc`, `free` and so on in what is linked statically: libc too,
//! where it is static, as in the image. A shared libc, the loader and what `LD_PRELOAD` brings keep their own. (An allocator
//! that takes the place of libc's symbols takes it from those as well, before it has started itself; that ended a process
//! with libfaketime.) Contract: memory that libc made (by `realpath`, `regcomp`) goes back to libc. What is made here must not
//! be given to a function of a shared libc that grows or frees it (`getline`, `reallocarray`), and a forked child must not
//! allocate before it becomes another program; nothing does either.

use std::ffi::{c_char, c_int, c_void};

use libmimalloc_sys as mi;

unsafe extern "C" {
    fn __real_free(pointer: *mut c_void);
    fn __real_realloc(pointer: *mut c_void, size: usize) -> *mut c_void;
}

/// Whether mimalloc made it. Safe before mimalloc has started: then nothing is.
fn is_ours(pointer: *const c_void) -> bool {
    // SAFETY: any pointer may be asked about; it is looked up and not read.
    unsafe { mi::mi_is_in_heap_region(pointer) }
}

/// # Safety
/// As `malloc`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __wrap_malloc(size: usize) -> *mut c_void {
    // SAFETY: the same contract.
    unsafe { mi::mi_malloc(size) }
}

/// # Safety
/// As `calloc`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __wrap_calloc(count: usize, size: usize) -> *mut c_void {
    // SAFETY: the same contract.
    unsafe { mi::mi_calloc(count, size) }
}

/// # Safety
/// As `realloc`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __wrap_realloc(pointer: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: it grows where it came from; out of nothing it comes from here.
    unsafe {
        if pointer.is_null() || is_ours(pointer) {
            mi::mi_realloc(pointer, size)
        } else {
            __real_realloc(pointer, size)
        }
    }
}

/// # Safety
/// As `free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __wrap_free(pointer: *mut c_void) {
    // SAFETY: it goes back to where it came from.
    unsafe { if is_ours(pointer) { mi::mi_free(pointer) } else { __real_free(pointer) } }
}

/// # Safety
/// As `posix_memalign`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __wrap_posix_memalign(out: *mut *mut c_void, align: usize, size: usize) -> c_int {
    // SAFETY: the same contract; `out` may be written.
    unsafe { mi::mi_posix_memalign(out, align, size) }
}

/// # Safety
/// As `strdup`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __wrap_strdup(text: *const c_char) -> *mut c_char {
    // SAFETY: the same contract.
    unsafe { mi::mi_strdup(text) }
}

/// # Safety
/// As `strndup`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __wrap_strndup(text: *const c_char, most: usize) -> *mut c_char {
    // SAFETY: the same contract.
    unsafe { mi::mi_strndup(text, most) }
}

#[cfg(test)]
mod tests {
    use std::alloc::{Layout, alloc, dealloc};
    use std::ffi::CStr;
    use std::ptr;

    use rdkafka::bindings::{rd_kafka_conf_destroy, rd_kafka_conf_new};

    use super::*;

    unsafe extern "C" {
        fn realpath(path: *const c_char, out: *mut c_char) -> *mut c_char;
        fn realloc(pointer: *mut c_void, size: usize) -> *mut c_void;
        fn free(pointer: *mut c_void);
    }

    #[test]
    fn our_memory_and_that_of_the_client_library_are_mimallocs() {
        // SAFETY: what is made is given back, with the layout that it was made with.
        unsafe {
            for layout in [(1, 1), (8 << 20, 1), (100, 1 << 20)]
                .map(|(size, align)| Layout::from_size_align(size, align).unwrap_or(Layout::new::<u8>()))
            {
                let memory = alloc(layout);
                assert!(is_ours(memory.cast()) && memory.addr().is_multiple_of(layout.align()), "{layout:?}");
                dealloc(memory, layout);
            }
            let conf = rd_kafka_conf_new();
            assert!(is_ours(conf.cast()));
            rd_kafka_conf_destroy(conf);
        }
    }

    #[test]
    fn memory_that_libc_made_may_grow_and_goes_back() {
        // SAFETY: `realpath` makes a text that is ours to grow and free.
        unsafe {
            let path = realpath(c"/".as_ptr(), ptr::null_mut());
            assert!(!path.is_null());
            assert_eq!(is_ours(path.cast()), cfg!(target_feature = "crt-static"));
            let grown = realloc(path.cast(), 4096);
            assert_eq!(CStr::from_ptr(grown.cast()), c"/");
            free(grown);
            free(ptr::null_mut());
        }
    }
}
