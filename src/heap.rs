//! The allocator: mimalloc, for our code and for the C code that is linked in, librdkafka above all. Each record and each of
//! its headers is allocated by one thread and freed by another, which costs libc's allocator a lock each time.
//!
//! `build.rs` has the linker call the functions here for `malloc`, `free` and so on in what is linked statically, and nowhere
//! else: libc, the loader and what `LD_PRELOAD` brings keep their own. (An allocator that takes the place of libc's symbols
//! takes it from those as well, before it has started itself; that ended a process with libfaketime.) Contract: memory that
//! libc made (by `realpath`, `regcomp`) goes back to libc. What is made here must not be given to a function of libc that
//! grows or frees it (`getline`); nothing does.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;

use libmimalloc_sys as mi;

unsafe extern "C" {
    // Safe before mimalloc has started: then nothing is in it.
    fn mi_is_in_heap_region(pointer: *const c_void) -> bool;
    fn __real_free(pointer: *mut c_void);
    fn __real_malloc_usable_size(pointer: *mut c_void) -> usize;
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
    // SAFETY: a pointer that is not mimalloc's is libc's: its bytes are there to be copied, and it is given back.
    unsafe {
        if pointer.is_null() || mi_is_in_heap_region(pointer) {
            return mi::mi_realloc(pointer, size);
        }
        let new = mi::mi_malloc(size);
        if !new.is_null() {
            let bytes = __real_malloc_usable_size(pointer).min(size);
            ptr::copy_nonoverlapping(pointer.cast::<u8>(), new.cast::<u8>(), bytes);
            __real_free(pointer);
        }
        new
    }
}

/// # Safety
/// As `free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __wrap_free(pointer: *mut c_void) {
    // SAFETY: it goes back to where it came from.
    unsafe { if mi_is_in_heap_region(pointer) { mi::mi_free(pointer) } else { __real_free(pointer) } }
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

/// # Safety
/// As `malloc_usable_size`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __wrap_malloc_usable_size(pointer: *mut c_void) -> usize {
    // SAFETY: asked of whoever made it.
    unsafe {
        if mi_is_in_heap_region(pointer) {
            mi::mi_usable_size(pointer)
        } else {
            __real_malloc_usable_size(pointer)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use rdkafka::bindings::{rd_kafka_conf_destroy, rd_kafka_conf_new};

    use super::*;

    unsafe extern "C" {
        fn realpath(path: *const c_char, out: *mut c_char) -> *mut c_char;
        fn realloc(pointer: *mut c_void, size: usize) -> *mut c_void;
        fn free(pointer: *mut c_void);
    }

    fn is_ours<T>(pointer: *const T) -> bool {
        // SAFETY: any pointer may be asked about.
        unsafe { mi_is_in_heap_region(pointer.cast()) }
    }

    #[test]
    fn our_memory_and_that_of_the_client_library_are_mimallocs() {
        assert!(is_ours(&raw const *Box::new(1_u8)));
        // SAFETY: a new configuration is given back.
        unsafe {
            let conf = rd_kafka_conf_new();
            assert!(is_ours(conf));
            rd_kafka_conf_destroy(conf);
        }
    }

    #[test]
    fn memory_that_libc_made_may_grow_and_goes_back() {
        // SAFETY: `realpath` makes a text that is ours to grow and free.
        unsafe {
            let path = realpath(c"/".as_ptr(), ptr::null_mut());
            assert!(!path.is_null() && !is_ours(path));
            let grown = realloc(path.cast(), 4096);
            assert!(is_ours(grown));
            assert_eq!(CStr::from_ptr(grown.cast()), c"/");
            free(grown);
            free(realpath(c"/".as_ptr(), ptr::null_mut()).cast());
            free(ptr::null_mut());
        }
    }
}
