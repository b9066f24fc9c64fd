//! `providers`: what every vendor instance can be told, beside its own keys.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::read::rate;
use crate::config::snapshot::Snapshots;
use crate::config::{Rate, Section, Ttl, routes, units};
use crate::entity::EntityKind;
use crate::http::BaseUrl;
use crate::provider::registry::VendorConfig;
use crate::score::{Level, Levels, Points, Scale, Score};

/// Longest name of a provider, in characters.
const MAX_NAME: usize = 64;

/// One configured vendor instance.
#[derive(Clone, Debug, PartialEq)]
pub struct ProviderConfig {
    /// The instance's name: in output, metrics and routes.
    pub name: String,
    /// What every vendor has.
    pub common: Common,
    /// What only this vendor has.
    pub vendor: crate::provider::registry::VendorConfig,
}

/// The keys that every provider has.
#[derive(Clone, Debug, PartialEq)]
pub struct Common {
    /// Replaces the address that the vendor's own keys give.
    pub base_url: Option<BaseUrl>,
    /// Bound of one request (default 1 s).
    pub timeout: Duration,
    /// Requests under way at once (default 64).
    pub concurrency: usize,
    /// Look-ups that may wait for a slot (default 10000); above it the answer is `overloaded`.
    pub queue: usize,
    /// How long a look-up may wait for a slot of the limiter or of `concurrency` (default 10 s).
    pub max_wait: Duration,
    /// The vendor's quota, where it is known.
    pub limit: Option<Limit>,
    /// Attempts after the first.
    pub retry: Retry,
    /// When to stop asking.
    pub breaker: Breaker,
    /// Lifetimes of this provider's answers (the cache's where it has no own).
    pub ttl: Ttl,
    /// Identifier templates by kind: `{value}` stands for the identifier. A kind that is listed is asked about.
    pub identifiers: Vec<(EntityKind, String)>,
    /// Cuts of this provider (the common ones where it has no own).
    pub scale: Scale,
    /// HTTP proxy; `None` follows `HTTPS_PROXY` and `NO_PROXY`.
    pub proxy: Option<BaseUrl>,
    /// PEM file of authorities to trust beside the system's.
    pub ca: Option<PathBuf>,
    /// PEM file with certificate and key for mutual TLS.
    pub client_cert: Option<PathBuf>,
    /// Whether `http://` is fine for hosts that are not loopback.
    pub allow_http: bool,
    /// Whether the vendor's whole list is read.
    pub snapshot: Snapshots,
}

/// `limit`: at most `requests` in any window of `per`, of which this replica takes its `share`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Requests in a window.
    pub requests: u32,
    /// The window.
    pub per: Duration,
    /// Numerator and denominator of our share: 1/1 alone, 1/3 for one of three replicas.
    pub share: (u32, u32),
}

/// `retry`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in all, 1 to 10 (default 3).
    pub attempts: u32,
    /// Backoff before the second attempt (default 100 ms); doubles, with full jitter.
    pub backoff: Duration,
    /// Bound of one backoff (default 2 s).
    pub max_backoff: Duration,
}

/// `breaker`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Breaker {
    /// Fraction of unhealthy or slow calls that opens it, 0 to 1 (default 0.5).
    pub ratio: f64,
    /// Calls in the window before it may open (default 20); so many bad ones in a row open it as well.
    pub minimum: u32,
    /// The window over which calls are counted (default 10 s).
    pub window: Duration,
    /// A call longer than this counts as slow (default: the time-out).
    pub slow: Duration,
    /// How long it stays open before one probe (default 5 s).
    pub open_for: Duration,
    /// The same after credentials, permission or licence were refused (default 60 s).
    pub refused_for: Duration,
}

impl ProviderConfig {
    /// Reads one entry of `providers`.
    pub(super) fn read(name: &str, mut section: Section<'_>, ttl: Ttl, scale: Scale) -> Option<Self> {
        let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
        if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(known) || name == routes::NOBODY {
            let cure = "write 1 to 64 of a-z, 0-9, _ and -, and not `none`: it becomes a metric label";
            section.problem("", "not a name for a provider", cure);
        }
        let common = Common::read(&mut section, ttl, scale);
        let vendor = section.required_text("type", "datadog")?;
        let vendor = VendorConfig::read(&vendor, &mut section);
        if let Some(vendor) = &vendor {
            vendor.check_list(&common, &mut section);
        }
        // Which keys there are depends on the vendor: without a known one, none can be called unknown.
        if !section.is_faulty("type") {
            section.finish();
        }
        Some(ProviderConfig { name: name.to_owned(), common, vendor: vendor? })
    }
}

impl Common {
    /// Reads the keys that every provider has; `ttl` and `scale` are what it has without its own.
    pub(super) fn read(section: &mut Section<'_>, ttl: Ttl, scale: Scale) -> Self {
        let allow_http = section.flag("allow_http").unwrap_or(false);
        let timeout = section.positive_duration("timeout").unwrap_or(Duration::from_secs(1));
        let base_url = section.url("base_url");
        if base_url.as_ref().is_some_and(|url| url.is_plain() && !url.is_loopback() && !allow_http) {
            let cure = "write https://, or allow_http: true where the network between is trusted";
            section.problem("base_url", "unencrypted", cure);
        }
        Common {
            base_url,
            timeout,
            concurrency: section.integer("concurrency", 1..=10_000).map_or(64, size),
            queue: section.integer("queue", 0..=10_000_000).map_or(10_000, size),
            max_wait: section.duration("max_wait").unwrap_or(Duration::from_secs(10)),
            limit: section.section("limit").and_then(limit),
            retry: retry(section.section_or_empty("retry")),
            breaker: breaker(section.section_or_empty("breaker"), timeout),
            ttl: Ttl::read(section.section_or_empty("ttl"), ttl),
            identifiers: section.section("identifiers").map(identifiers).unwrap_or_default(),
            scale: scale_in(section, scale),
            // The way to a proxy may be plain: what goes through it is encrypted end to end.
            proxy: section.url("proxy"),
            ca: section.file("ca"),
            client_cert: section.file("client_cert"),
            allow_http,
            snapshot: Snapshots::read(section),
        }
    }
}

/// Reads `levels` and `points` of `section`; what is absent is as in `fallback`.
pub(super) fn scale_in(section: &mut Section<'_>, fallback: Scale) -> Scale {
    let mut levels = section.section_or_empty("levels");
    let mut cut = |key, other| levels.number(key, 0.0..=100.0).unwrap_or(other);
    let Levels { low, medium, high, critical } = fallback.levels;
    let cuts = Levels {
        low: cut("low", low),
        medium: cut("medium", medium),
        high: cut("high", high),
        critical: cut("critical", critical),
    };
    if !(cuts.low <= cuts.medium && cuts.medium <= cuts.high && cuts.high <= cuts.critical) {
        let cure = format!(
            "write low <= medium <= high <= critical; now {}, {}, {}, {}",
            cuts.low, cuts.medium, cuts.high, cuts.critical
        );
        levels.problem("", "not ascending", cure);
    }
    levels.finish();

    let mut section = section.section_or_empty("points");
    let mut point = |key, other| section.number(key, 0.0..=100.0).and_then(Score::clamped).unwrap_or(other);
    let Points { info, low, medium, high, critical } = fallback.points;
    let points = Points {
        info: point("info", info),
        low: point("low", low),
        medium: point("medium", medium),
        high: point("high", high),
        critical: point("critical", critical),
    };
    let ascending = Level::ALL.map(|level| points.score(level)).is_sorted();
    if !ascending {
        section.problem("", "not ascending", "write info <= low <= medium <= high <= critical");
    }
    section.finish();
    Scale { levels: cuts, points }
}

fn limit(mut section: Section<'_>) -> Option<Limit> {
    let share = section.text("share").map_or(Some((1, 1)), |text| units::share(&text));
    if share.is_none() {
        section.problem("share", "not a share", "write 1/N for one of N replicas: 1/3");
    }
    let rate = rate(section);
    let Rate { requests, per } = rate?;
    Some(Limit { requests, per, share: share? })
}

fn retry(mut section: Section<'_>) -> Retry {
    let retry = Retry {
        // Within u32 by the range.
        attempts: section.integer("attempts", 1..=10).map_or(3, |attempts| attempts as u32),
        backoff: section.duration("backoff").unwrap_or(Duration::from_millis(100)),
        max_backoff: section.duration("max_backoff").unwrap_or(Duration::from_secs(2)),
    };
    if retry.backoff > retry.max_backoff {
        let key = if section.has("max_backoff") { "max_backoff" } else { "backoff" };
        section.problem(key, "backoff is above max_backoff", "write backoff <= max_backoff (default 2s)");
    }
    section.finish();
    retry
}

fn breaker(mut section: Section<'_>, timeout: Duration) -> Breaker {
    let breaker = Breaker {
        ratio: section.number("ratio", 0.01..=1.0).unwrap_or(0.5),
        // Within u32 by the range.
        minimum: section.integer("minimum", 1..=100_000).map_or(20, |calls| calls as u32),
        window: section.positive_duration("window").unwrap_or(Duration::from_secs(10)),
        slow: section.positive_duration("slow").unwrap_or(timeout),
        open_for: section.positive_duration("open_for").unwrap_or(Duration::from_secs(5)),
        refused_for: section.positive_duration("refused_for").unwrap_or(Duration::from_secs(60)),
    };
    section.finish();
    breaker
}

fn identifiers(mut section: Section<'_>) -> Vec<(EntityKind, String)> {
    let mut templates = Vec::new();
    for (key, template) in section.all_texts() {
        if !template.contains("{value}") {
            section.problem(&key, "no place for the identifier", "write {value} where the identifier goes");
        }
        match routes::kind_named(&key) {
            Ok(kind) => templates.push((kind, template)),
            Err((what, cure)) => section.problem(&key, what, cure),
        }
    }
    templates
}

/// A number that a range has bounded below any `usize`.
pub(super) fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
