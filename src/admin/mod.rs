//! The HTTP port: `/metrics`, `/livez`, `/readyz`, the status page at `/`, and, behind a token, `/v1`.
//!
//! [`health`] is what the lanes and providers say; [`alarm`] what dead letters do; [`server`] the routes; [`api`] the questions of playbooks.

pub mod alarm;
pub mod api;
pub mod health;
pub mod server;
