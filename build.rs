//! Puts the mend of librdkafka in `src/source/leaders.rs` in its place.
//!
//! Contract: only where the linker can (GNU ld, lld and mold on Linux); elsewhere librdkafka is linked as it is.

/// The function of librdkafka that is wrapped.
const WRAPPED: &str = "rd_kafkap_leader_discovery_set_topic";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(wraps)");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        println!("cargo::rustc-cfg=wraps");
        println!("cargo::rustc-link-arg=-Wl,--wrap={WRAPPED}");
        // Asked for before the library is searched that has it: linkers read libraries once.
        println!("cargo::rustc-link-arg=-Wl,--undefined=__wrap_{WRAPPED}");
    }
}
