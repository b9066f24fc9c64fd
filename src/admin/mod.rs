//! The HTTP port: `/metrics`, `/livez`, `/readyz` and the status page.

pub mod health;
