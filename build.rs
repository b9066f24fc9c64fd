//! Puts the mends of librdkafka (`src/source/leaders.rs`, `src/sink/wakeups.rs`) and the allocator (`src/heap.rs`) in their places.
//!
//! Contract: only where the linker can (GNU ld, lld and mold on Linux); elsewhere librdkafka is linked as it is, and the
//! system allocates.

/// The functions of librdkafka that are wrapped, and those by which programs get and give back memory.
const WRAPPED: [&str; 9] = [
    "rd_kafkap_leader_discovery_set_topic",
    "rd_kafka_msgq_allow_wakeup_at",
    "malloc",
    "calloc",
    "realloc",
    "free",
    "posix_memalign",
    "strdup",
    "strndup",
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(wraps)");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        println!("cargo::rustc-cfg=wraps");
        for function in WRAPPED {
            println!("cargo::rustc-link-arg=-Wl,--wrap={function}");
            // Asked for before the library is searched that has it: linkers read libraries once.
            println!("cargo::rustc-link-arg=-Wl,--undefined=__wrap_{function}");
        }
    }
}
