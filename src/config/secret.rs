//! Secrets: where they come from, read again when a file changes, never printable.

use secrecy::SecretString;

/// A secret by reference: `{env: NAME}` or `{file: PATH}`; a literal only where `allow_literal_secrets` is set.
///
/// `Debug` shows where it comes from, never what it is. Cloning shares the value.
#[derive(Clone, Debug)]
pub struct Secret {}

impl Secret {
    /// A secret that is known already: for tests and the simulator.
    pub fn literal(_value: &str) -> Self {
        todo!()
    }

    /// The value as it is now; a file that changed is read again. A file that cannot be read keeps its last value.
    pub fn current(&self) -> SecretString {
        todo!()
    }
}
