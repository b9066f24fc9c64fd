//! What vendors say about their quotas in response headers.
//!
//! Reads `Retry-After`, `X-RateLimit-*` (Datadog), `X-Rate-Limit-*` (Okta) and `Ratelimit` with `Ratelimit-Policy` (Cloudflare, after the
//! IETF draft). Pure: `now` is passed in. Contract: never fails, whatever a header holds; what it does not
//! understand is left out, and no wait is longer than [`LONGEST`].

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

/// The longest wait that a header is believed to ask for.
pub const LONGEST: Duration = Duration::from_secs(3600);

/// What is left of a window, and when it is whole again: Datadog's and most others' spelling, with CrowdStrike's word for the
/// latter, and Okta's.
const SPELLINGS: [(&str, &[&str]); 2] = [
    ("x-ratelimit-remaining", &["x-ratelimit-reset", "x-ratelimit-retryafter"]),
    ("x-rate-limit-remaining", &["x-rate-limit-reset"]),
];

/// What one response says about the quota.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// How long to leave the vendor alone (`Retry-After`).
    pub retry_after: Option<Duration>,
    /// Every window that the response describes.
    pub windows: Vec<Window>,
}

/// One of a vendor's windows: what is left of it, and when it is whole again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Requests left in it.
    pub remaining: u64,
    /// How long until it is whole again, where the vendor says so.
    pub reset: Option<Duration>,
}

impl Quota {
    /// Reads the headers of a response (names in lower case) that came at `now`.
    pub fn read(headers: &[(String, String)], now: Timestamp) -> Self {
        let all = |name: &'static str| {
            headers.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
        };
        let first = |name: &'static str| all(name).next();
        // A date is measured against the vendor's own clock, so that ours may be wrong.
        let vendors_now = first("date").and_then(date).unwrap_or(now);
        let mut windows: Vec<Window> =
            all("ratelimit").flat_map(|list| list.split(',')).filter_map(item).collect();
        for (remaining, resets) in SPELLINGS {
            let Some(remaining) = first(remaining).and_then(whole) else { continue };
            let reset = resets.iter().find_map(|name| first(name)).and_then(whole).map(|number| {
                // Datadog counts down seconds here. Others write the moment as a Unix time, told apart by its size.
                let unix = u64::try_from(vendors_now.as_second()).unwrap_or_default();
                bounded(if number > 1_000_000_000 { number.saturating_sub(unix) } else { number })
            });
            windows.push(Window { remaining, reset });
        }
        let retry_after = first("retry-after").and_then(|text| match whole(text) {
            Some(seconds) => Some(bounded(seconds)),
            None => {
                let wait = date(text)?.duration_since(vendors_now);
                Some(Duration::try_from(wait).unwrap_or_default().min(LONGEST))
            }
        });
        Quota { retry_after, windows }
    }

    /// The window with the least left in it.
    pub fn tightest(&self) -> Option<Window> {
        self.windows.iter().copied().min_by_key(|window| window.remaining)
    }

    /// How long to wait after a refusal: what the vendor asks for, else until its exhausted window is whole again.
    ///
    /// On a 429 `remaining` is not the truth (Datadog was seen to answer 429 with 9 remaining), so where no
    /// window is exhausted the longest reset counts.
    pub fn wait_after_refusal(&self) -> Option<Duration> {
        self.retry_after.or_else(|| self.windows.iter().filter_map(|window| window.reset).max())
    }
}

/// How long a vendor that gave no answer wants to be left alone, by the `status` and headers (names in lower case)
/// of what it sent at `now`. Only a 429 speaks of windows: those of another status say nothing about it.
pub fn wait(status: u16, headers: &[(String, String)], now: Timestamp) -> Option<Duration> {
    let quota = Quota::read(headers, now);
    if status == 429 { quota.wait_after_refusal() } else { quota.retry_after }
}

/// One item of `Ratelimit`: `"default";r=50;t=30`.
fn item(text: &str) -> Option<Window> {
    let parameter = |name: &str| {
        text.split(';').filter_map(|part| part.trim().split_once('=')).find(|(key, _)| *key == name)
    };
    let remaining = whole(parameter("r")?.1)?;
    Some(Window { remaining, reset: parameter("t").and_then(|(_, value)| whole(value)).map(bounded) })
}

/// A whole number; a fraction is rounded up, a negative number is zero.
fn whole(text: &str) -> Option<u64> {
    let number: f64 = text.trim().parse().ok()?;
    // `as` saturates, which is what "absurdly large" should do.
    number.is_finite().then(|| number.max(0.0).ceil() as u64)
}

fn bounded(seconds: u64) -> Duration {
    Duration::from_secs(seconds).min(LONGEST)
}

/// An HTTP date: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn date(text: &str) -> Option<Timestamp> {
    const PARSER: DateTimeParser = DateTimeParser::new().relaxed_weekday(true);
    PARSER.parse_timestamp(text.trim()).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    fn read(headers: &[(&str, &str)]) -> Quota {
        let headers: Vec<_> = headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Quota::read(&headers, "2026-05-29T14:00:00Z".parse().unwrap())
    }

    fn seconds(number: u64) -> Option<Duration> {
        Some(Duration::from_secs(number))
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(read(&[("retry-after", "30")]).retry_after, seconds(30));
        assert_eq!(read(&[("retry-after", " 1.2 ")]).retry_after, seconds(2));
        assert_eq!(read(&[("retry-after", "Fri, 29 May 2026 14:05:00 GMT")]).retry_after, seconds(300));
    }

    #[test]
    fn a_date_is_measured_against_the_vendors_clock() {
        let quota = read(&[
            ("date", "Fri, 29 May 2026 13:00:00 GMT"),
            ("retry-after", "Fri, 29 May 2026 13:00:20 GMT"),
        ]);
        assert_eq!(quota.retry_after, seconds(20));
    }

    #[test]
    fn absurd_waits_are_bounded_and_past_ones_are_over() {
        assert_eq!(read(&[("retry-after", "99999999999999999999999")]).retry_after, Some(LONGEST));
        assert_eq!(read(&[("retry-after", "Fri, 29 May 2099 14:05:00 GMT")]).retry_after, Some(LONGEST));
        assert_eq!(read(&[("retry-after", "Fri, 29 May 1999 14:05:00 GMT")]).retry_after, seconds(0));
        assert_eq!(read(&[("retry-after", "-5")]).retry_after, seconds(0));
        assert_eq!(read(&[("retry-after", "soon")]).retry_after, None);
        assert_eq!(read(&[("retry-after", "NaN")]).retry_after, None);
    }

    #[test]
    fn datadogs_headers_count_down() {
        let quota = read(&[
            ("x-ratelimit-limit", "10"),
            ("x-ratelimit-period", "10"),
            ("x-ratelimit-remaining", "9"),
            ("x-ratelimit-reset", "3"),
        ]);
        assert_eq!(quota.windows, [Window { remaining: 9, reset: seconds(3) }]);
        assert_eq!(quota.wait_after_refusal(), seconds(3));
    }

    #[test]
    fn a_reset_as_a_unix_time_is_understood() {
        let unix = "2026-05-29T14:00:07Z".parse::<Timestamp>().unwrap().as_second().to_string();
        let okta = read(&[("x-rate-limit-remaining", "0"), ("x-rate-limit-reset", &unix)]);
        let crowdstrike = read(&[("x-ratelimit-remaining", "0"), ("x-ratelimit-retryafter", &unix)]);
        let quota = read(&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", &unix)]);
        assert_eq!((&okta, &crowdstrike), (&quota, &quota));
        assert_eq!(quota.windows, [Window { remaining: 0, reset: seconds(7) }]);
    }

    #[test]
    fn cloudflares_header_is_a_list_and_may_come_twice() {
        let quota = read(&[
            ("ratelimit", "\"default\";r=50;t=30, \"burst\"; r=7 ; t=5"),
            ("ratelimit", "\"daily\";r=4000"),
            ("ratelimit-policy", "\"burst\";q=100;w=60"),
        ]);
        assert_eq!(
            quota.windows,
            [
                Window { remaining: 50, reset: seconds(30) },
                Window { remaining: 7, reset: seconds(5) },
                Window { remaining: 4000, reset: None },
            ]
        );
        assert_eq!(quota.tightest(), Some(Window { remaining: 7, reset: seconds(5) }));
    }

    #[test]
    fn what_the_vendor_asks_for_goes_before_what_its_windows_say() {
        let quota = read(&[("retry-after", "300"), ("ratelimit", "\"default\";r=0;t=30")]);
        assert_eq!(quota.wait_after_refusal(), seconds(300));
    }

    #[test]
    fn windows_count_after_a_429_only() {
        let now = "2026-05-29T14:00:00Z".parse().unwrap();
        let window = [("ratelimit".to_owned(), "\"default\";r=0;t=30".to_owned())];
        assert_eq!(wait(429, &window, now), seconds(30));
        assert_eq!(wait(503, &window, now), None);
        let asked = [window, [("retry-after".to_owned(), "7".to_owned())]].concat();
        assert_eq!((wait(429, &asked, now), wait(503, &asked, now)), (seconds(7), seconds(7)));
    }

    proptest! {
        #[test]
        fn no_header_value_is_too_strange(value in any::<String>(), name in 0usize..4) {
            let name = ["retry-after", "ratelimit", "x-ratelimit-remaining", "date"][name];
            let quota = read(&[(name, &value), ("x-ratelimit-reset", &value)]);
            prop_assert!(quota.retry_after.is_none_or(|wait| wait <= LONGEST));
            prop_assert!(quota.windows.iter().all(|w| w.reset.is_none_or(|wait| wait <= LONGEST)));
        }
    }
}
