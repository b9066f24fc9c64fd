//! The five vendors as HTTP servers, for the demo, `simulate`, benches and tests.
//!
//! Behaves as the vendors' pages and known traps say: authentication is checked, limits are enforced,
//! unknown entities and every error shape are there. Deterministic: what a vendor knows of an identifier is a
//! function of the identifier. Never a stand-in inside the program: it is only reached through HTTP.
