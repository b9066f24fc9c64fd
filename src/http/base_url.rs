//! Addresses, and the only way an identifier gets into a URL.
//!
//! Contract: what [`BaseUrl::join`] returns has the host and the path segments that the caller meant,
//! whatever the segments hold; where no encoding can promise that, it returns `None`. Pure.

use std::net::IpAddr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Url;

/// Everything outside RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A vendor's address: scheme, host, port and an optional path prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    /// `https://host[:port]`, normalised.
    origin: String,
    /// `host` or `host:port`.
    host: String,
    /// Empty, or `/` and segments without a trailing slash, percent-encoded.
    prefix: String,
    /// Whether the path was written with a slash at its end.
    slash: bool,
    plain: bool,
    loopback: bool,
}

/// An address that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadUrl(pub String);

impl BaseUrl {
    /// Reads `text`: `https://host[:port][/prefix]`, no query, no fragment, no credentials in it.
    ///
    /// # Errors
    /// Says what is wrong and what to write. It does not repeat `text`, which may hold a password.
    pub fn parse(text: &str) -> Result<Self, BadUrl> {
        let bad = |what: &str| Err(BadUrl(format!("{what}: write https://host[:port][/path]")));
        let url = match Url::parse(text.trim()) {
            Ok(url) => url,
            Err(error) => return bad(&format!("not an address ({error})")),
        };
        if !matches!(url.scheme(), "https" | "http") {
            return bad(&format!("the scheme {:?} is neither https nor http", url.scheme()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return bad("an address holds no user name and no password");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return bad("an address holds neither ? nor #");
        }
        let Some(name) = url.host_str().filter(|name| !name.is_empty()) else {
            return bad("the host is missing");
        };
        let host = match url.port() {
            Some(port) => format!("{name}:{port}"),
            None => name.to_owned(),
        };
        Ok(BaseUrl {
            origin: format!("{}://{host}", url.scheme()),
            prefix: url.path().trim_end_matches('/').to_owned(),
            slash: url.path().ends_with('/'),
            plain: url.scheme() == "http",
            loopback: is_loopback(name),
            host,
        })
    }

    /// `host` or `host:port`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The address itself, with a slash at its end if it was written with one: some servers know only one of the two.
    pub fn whole(&self) -> String {
        format!("{}{}{}", self.origin, self.prefix, if self.slash { "/" } else { "" })
    }

    /// Whether requests travel unencrypted.
    pub fn is_plain(&self) -> bool {
        self.plain
    }

    /// Whether the host is loopback.
    pub fn is_loopback(&self) -> bool {
        self.loopback
    }

    /// The URL of a path below this address. Each segment is percent-encoded (RFC 3986, unreserved characters
    /// only), so a `/` in it becomes `%2F`; a literal colon of a method name goes into `suffix` as it is
    /// (`:query`). `None` for a segment that no encoding saves: empty, `.` or `..`.
    pub fn join(&self, segments: &[&str], suffix: &str, query: &[(&str, &str)]) -> Option<String> {
        let mut path = self.prefix.clone();
        for segment in segments {
            if matches!(*segment, "" | "." | "..") {
                return None;
            }
            path.push('/');
            path.extend(encoded(segment));
        }
        path.push_str(suffix);
        if path.is_empty() {
            path.push('/');
        }
        let query = form(query);
        let text = match query.as_str() {
            "" => format!("{}{path}", self.origin),
            query => format!("{}{path}?{query}", self.origin),
        };
        // The last word has the parser that the request will go through: it must read back what was meant.
        let url = Url::parse(&text).ok()?;
        let meant = url.origin().ascii_serialization() == self.origin
            && url.path() == path
            && url.query().unwrap_or_default() == query
            && url.fragment().is_none();
        meant.then_some(text)
    }
}

/// `a=b&c=d`, every name and value percent-encoded: both a query and an urlencoded form.
pub(super) fn form(pairs: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push('&');
        }
        text.extend(encoded(name));
        text.push('=');
        text.extend(encoded(value));
    }
    text
}

/// Whether a URL's host is this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn encoded(text: &str) -> percent_encoding::PercentEncode<'_> {
    utf8_percent_encode(text, RESERVED)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    fn base(text: &str) -> BaseUrl {
        BaseUrl::parse(text).unwrap()
    }

    #[test]
    fn an_address_keeps_its_port_and_prefix_and_loses_the_last_slash() {
        let url = base("https://API.example.com:8443/prefix/v2/");
        assert_eq!(url.host(), "api.example.com:8443");
        assert_eq!(
            url.join(&["users", "1"], "", &[]).unwrap(),
            "https://api.example.com:8443/prefix/v2/users/1"
        );
        assert_eq!(url.whole(), "https://api.example.com:8443/prefix/v2/");
        assert_eq!(base("https://h.example/token").whole(), "https://h.example/token");
        assert_eq!(base("https://h.example").whole(), "https://h.example/");
        assert_eq!(base("https://h.example:443").host(), "h.example");
        assert_eq!(base("https://h.example/token").join(&[], "", &[]).unwrap(), "https://h.example/token");
        assert_eq!(base("https://h.example").join(&[], "", &[]).unwrap(), "https://h.example/");
    }

    #[test]
    fn what_is_not_a_plain_address_is_refused_without_being_repeated() {
        for text in [
            "",
            "host",
            "ftp://h.example",
            "https://",
            "https://u:hunter2@h.example",
            "https://h.example/?token=hunter2",
            "https://h.example/#hunter2",
        ] {
            let BadUrl(message) = BaseUrl::parse(text).unwrap_err();
            assert!(!message.contains("hunter2"), "{message}");
            assert!(message.contains("https://host"), "{message}");
        }
    }

    #[test]
    fn loopback_is_known_by_name_and_number() {
        for text in ["http://localhost:1", "http://127.0.0.1", "http://127.9.9.9:80", "http://[::1]:3000"] {
            assert!(base(text).is_loopback() && base(text).is_plain(), "{text}");
        }
        for text in ["http://localhost.example", "https://10.0.0.1", "http://0.0.0.0", "https://example.com"]
        {
            assert!(!base(text).is_loopback(), "{text}");
        }
    }

    #[test]
    fn an_arn_and_a_slash_stay_one_segment() {
        let url = base("https://h.example")
            .join(&["entity", "arn:aws:iam::1:user/john doe"], ":query", &[("filter", "a=\"b\" & c+d")])
            .unwrap();
        assert_eq!(
            url,
            "https://h.example/entity/arn%3Aaws%3Aiam%3A%3A1%3Auser%2Fjohn%20doe:query\
             ?filter=a%3D%22b%22%20%26%20c%2Bd"
        );
    }

    #[test]
    fn no_encoding_saves_dot_segments_and_empty_ones() {
        let base = base("https://h.example/p");
        for segment in ["", ".", ".."] {
            assert_eq!(base.join(&["a", segment], "", &[]), None);
        }
        assert_eq!(base.join(&["a", "%2e%2e"], "", &[]).unwrap(), "https://h.example/p/a/%252e%252e");
    }

    #[test]
    fn a_suffix_cannot_leave_the_path() {
        let base = base("https://h.example");
        for suffix in ["/../x", "?a=b", "#x", "/%2e%2e/x"] {
            assert_eq!(base.join(&["a"], suffix, &[]), None, "{suffix}");
        }
    }

    fn hostile() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            "[./\\\\%?#@:&=+ \t\r\n\u{0}a-c\u{2024}\u{ff0e}\u{ff0f}]{1,12}",
            "(%2e|%2E|%2f|\\.|/|\\\\|;){1,8}",
        ]
    }

    proptest! {
        #[test]
        fn no_identifier_changes_the_host_or_the_shape(identifier in hostile(), value in hostile()) {
            let base = base("https://h.example:8443/p");
            match base.join(&["entity", &identifier, "risk"], "", &[("q", &value)]) {
                None => prop_assert!(matches!(identifier.as_str(), "" | "." | "..")),
                Some(text) => {
                    let url = Url::parse(&text).unwrap();
                    prop_assert_eq!(url.host_str(), Some("h.example"));
                    prop_assert_eq!(url.port(), Some(8443));
                    prop_assert!(url.username().is_empty() && url.fragment().is_none());
                    let segments: Vec<_> = url.path_segments().unwrap().collect();
                    prop_assert_eq!(segments.len(), 4);
                    let read = percent_encoding::percent_decode_str(segments[2]).decode_utf8().unwrap();
                    prop_assert_eq!(read.as_ref(), identifier.as_str());
                    let pairs: Vec<_> = url.query_pairs().collect();
                    prop_assert_eq!(pairs.len(), 1);
                    prop_assert_eq!(pairs[0].1.as_ref(), value.as_str());
                }
            }
        }
    }
}
