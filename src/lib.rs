//! `riskstream`: security alerts in from Kafka, the risk of the entities in them looked up at the
//! vendors that know it, enriched alerts out.
//!
//! This file is the map and holds no code. The way of an alert, and the module that owns each step:
//!
//! | step | module | owns |
//! |---|---|---|
//! | 1 consume | [`source`] | polling, rebalance, backpressure: one lane is one OS thread |
//! | 2 decode | [`alert::decode`] | bytes to validated JSON, only the wanted paths read |
//! | 3 extract | [`alert`] | format rules to entities |
//! | 4 route | [`routing`] | entity and alert origin to the matching provider |
//! | 5 cache | [`cache`] | answers with lifetimes, one flight per question |
//! | 6 ask | [`provider`] | breaker, limiter, time-out, retry, and one folder per vendor |
//! | 7 score | [`score`] | the common 0-100 scale and its levels |
//! | 8 compose | [`compose`] | the enriched event |
//! | 9 produce | [`sink`] | outputs and dead letters, delivery awaited |
//! | 10 commit | [`commit`] | the ledger of offsets and its contiguous frontier |
//!
//! [`pipeline`] is the only module that knows all the steps; [`engine`] builds its parts, [`app`] starts and stops them.
//! Beside the way: [`config`], [`metrics`], [`admin`], [`telemetry`], [`supervisor`], [`http`] (the one
//! HTTP client), `heap` (the allocator), [`simulator`] (the five vendors as HTTP servers) and [`cli`].

pub mod admin;
pub mod alert;
pub mod app;
pub mod cache;
pub mod cli;
pub mod commit;
pub mod compose;
pub mod config;
pub mod engine;
pub mod entity;
#[cfg(wraps)]
mod heap;
pub mod http;
pub mod metrics;
pub mod pipeline;
pub mod provider;
pub mod reload;
pub mod routing;
pub mod score;
pub mod simulator;
pub mod sink;
pub mod source;
pub mod supervisor;
pub mod telemetry;
