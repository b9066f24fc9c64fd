//! Puts the mends of librdkafka in `src/source/leaders.rs` and `src/sink/wakeups.rs` in their places.
//!
//! Contract: only where the linker can (GNU ld, lld and mold on Linux); elsewhere librdkafka is linked as it is.

/// The functions of librdkafka that are wrapped.
const WRAPPED: [&str; 2] = ["rd_kafkap_leader_discovery_set_topic", "rd_kafka_msgq_allow_wakeup_at"];

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
