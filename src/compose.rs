//! Step 8: the enriched event. What the answers say, spliced into the alert's own bytes.
//!
//! Pure. In the envelope format nothing of the alert changes but a `risk` member that we wrote before.
