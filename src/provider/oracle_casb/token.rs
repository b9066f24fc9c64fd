//! The token that the key pair buys, and the tenant that it is for.
//!
//! Contract: a token never reaches `Debug`. How it is kept is [`crate::provider::tokens`]'s.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;
use tokio::time::Instant;

use super::wire::Grant;
use crate::provider::tokens::{LONGEST_LIFE, Token};
use crate::provider::{Failure, lenient};

/// The life of a token that does not say when it ends, or says that it is over already (a clock is wrong).
const ASSUMED_LIFE: Duration = Duration::from_secs(600);

/// What a request needs of a token.
pub struct Tenancy {
    /// The whole value of `Authorization`.
    pub authorization: SecretString,
    /// The value of `X-Apprity-Tenant-Id`.
    pub tenant: String,
}

impl fmt::Debug for Tenancy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tenancy").finish_non_exhaustive()
    }
}

/// The token that `grant` gives. `wall` is the time of day, `now` the same moment on the monotonic clock.
///
/// # Errors
/// `malformed_response` when token or tenant is missing or cannot stand in a header.
pub fn granted(grant: &Grant, wall: Timestamp, now: Instant) -> Result<Token<Tenancy>, Failure> {
    let (access, tenant, life) = read(grant, wall)?;
    Ok(Token::new(Tenancy { authorization: format!("Bearer {access}").into(), tenant }, life, now))
}

fn read(grant: &Grant, wall: Timestamp) -> Result<(String, String, Duration), Failure> {
    let fit = |text: &String| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    let access = grant.access_token.as_ref().and_then(lenient::text).filter(fit);
    let access = access.ok_or_else(|| Failure::malformed("the token's answer has no usable accessToken"))?;
    let tenant = grant.tenant_id.as_ref().and_then(lenient::text).filter(fit);
    let tenant = tenant.ok_or_else(|| Failure::malformed("the token's answer has no usable tenantId"))?;
    let end = grant.expires_at.as_ref().and_then(lenient::moment);
    let life = end.and_then(|end| Duration::try_from(end.duration_since(wall)).ok());
    let life = life.filter(|life| !life.is_zero()).unwrap_or(ASSUMED_LIFE);
    Ok((access, tenant, life.min(LONGEST_LIFE)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use crate::provider::FailureKind;
    use serde_json::{Value, json};

    const WALL: &str = "2026-01-01T00:00:00Z";

    fn granted_by(grant: Value) -> Result<(String, String, Duration), Failure> {
        let grant = Grant::read(grant.to_string().as_bytes()).unwrap();
        read(&grant, WALL.parse().unwrap())
    }

    #[test]
    fn a_token_lives_until_it_says_that_it_ends() {
        for (expires_at, seconds) in [
            (json!("2026-01-01T01:00:00Z"), 3600),
            (json!("2026-01-01T01:00:00.000"), 3600),
            (json!("2026-01-01T00:01:40Z"), 100),
            (json!(1_767_225_600 + 3600), 3600),
            (json!((1_767_225_600_i64 + 3600) * 1000), 3600),
            (json!("1767229200000"), 3600),
            (json!("2027-01-01T00:00:00Z"), 24 * 3600),
            (json!("2025-12-31T00:00:00Z"), 600),
            (json!("in an hour"), 600),
            (json!(null), 600),
        ] {
            let grant = json!({"accessToken": "v2.x", "tenantId": "t", "expiresAt": expires_at});
            assert_eq!(granted_by(grant).unwrap().2, Duration::from_secs(seconds), "{expires_at}");
        }
    }

    #[test]
    fn a_grant_without_token_or_tenant_is_malformed() {
        for grant in [
            json!({}),
            json!({"accessToken": "v2.x"}),
            json!({"tenantId": "t"}),
            json!({"accessToken": "", "tenantId": "t"}),
            json!({"accessToken": "v2\r\nx: y", "tenantId": "t"}),
            json!({"accessToken": {"v2": 1}, "tenantId": "t"}),
        ] {
            let failure = granted_by(grant.clone()).unwrap_err();
            assert_eq!(failure.kind, FailureKind::MalformedResponse, "{grant}");
        }
    }

    #[test]
    fn a_token_is_never_printed() {
        let grant = Grant::read(br#"{"accessToken": "v2.hush", "tenantId": "t"}"#).unwrap();
        let token = granted(&grant, Timestamp::UNIX_EPOCH, Instant::now()).unwrap();
        assert!(!format!("{token:?} {:?}", token.value).contains("hush"));
    }
}
