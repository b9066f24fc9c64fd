//! One thread of another process held still while the others go on, as the kernel does it for a debugger.
//!
//! Contract: the thread goes on when this ends, also when the test fails. Only the thread that began it may end it.

use std::path::Path;

/// A thread that is held.
pub struct Frozen(libc::pid_t);

impl Frozen {
    /// Holds the thread of that name.
    pub fn thread(process: u32, name: &str) -> Frozen {
        let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
        let named =
            |task: &Path| std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name);
        let task =
            tasks.map(|task| task.unwrap().path()).find(|task| named(task)).expect("a thread of that name");
        let id: libc::pid_t = task.file_name().unwrap().to_str().unwrap().parse().unwrap();
        // SAFETY: these calls take numbers only; the thread belongs to a child of ours.
        unsafe {
            for request in [libc::PTRACE_SEIZE, libc::PTRACE_INTERRUPT] {
                let result = libc::ptrace(request, id, 0, 0);
                assert_eq!(result, 0, "ptrace: {}", std::io::Error::last_os_error());
            }
            assert_eq!(libc::waitpid(id, std::ptr::null_mut(), libc::__WALL), id);
        }
        Frozen(id)
    }
}

impl Frozen {
    /// Holds the thread of that name while it works, and does not wait for anything.
    pub fn working(process: u32, name: &str) -> Frozen {
        loop {
            let frozen = Frozen::thread(process, name);
            let call = std::fs::read_to_string(format!("/proc/{process}/task/{}/syscall", frozen.0)).unwrap();
            if call.starts_with("-1 ") {
                return frozen;
            }
            drop(frozen);
            std::thread::park_timeout(std::time::Duration::from_millis(1));
        }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { libc::ptrace(libc::PTRACE_DETACH, self.0, 0, 0) };
    }
}
