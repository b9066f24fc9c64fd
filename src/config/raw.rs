//! The configuration as written: YAML with positions, environment overrides laid over it.
