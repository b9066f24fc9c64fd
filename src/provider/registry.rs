//! The list of vendors: the one place, beside its own folder, that a new vendor is named in.

use crate::config::Section;

/// The keys of one vendor, checked.
#[derive(Clone, Debug)]
pub enum VendorConfig {}

impl VendorConfig {
    /// Reads the vendor's own keys from its entry; `None` when a problem was recorded.
    ///
    /// `vendor` is the value of `type`; an unknown one is a problem that names the known ones.
    pub fn read(_vendor: &str, _section: &mut Section<'_>) -> Option<Self> {
        None
    }
}
