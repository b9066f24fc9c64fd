//! When a vendor is not asked for a while.

/// Whether the vendor is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// Every question is asked.
    Closed,
    /// None is.
    Open,
    /// One is, to see whether the vendor is well again.
    HalfOpen,
}
