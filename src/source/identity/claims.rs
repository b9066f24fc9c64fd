//! What a token says of itself, where it is a JWT.
//!
//! Pure. Contract: reads and believes, checks nothing: a token comes from our own identity provider over TLS, and the
//! broker is who judges it. A token of another form says nothing.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

/// The claims that matter to us.
#[derive(Debug, Default, PartialEq, Deserialize)]
pub struct Claims {
    /// Whose it is.
    #[serde(default)]
    pub sub: Option<String>,
    /// Until when it is good, in seconds of Unix time.
    #[serde(default)]
    pub exp: Option<f64>,
}

/// Reads the claims of `token`.
pub fn read(token: &str) -> Claims {
    let mut parts = token.split('.');
    let (Some(_), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Claims::default();
    };
    let claims = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).unwrap_or_default();
    serde_json::from_slice(&claims).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> String {
        format!("{}.{}.sig", URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256"}"#), URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn a_jwt_says_whose_it_is_and_until_when() {
        let claims = read(&token(r#"{"sub":"riskstream","exp":1767229200,"aud":["kafka"]}"#));
        assert_eq!(claims, Claims { sub: Some("riskstream".to_owned()), exp: Some(1_767_229_200.0) });
    }

    #[test]
    fn any_other_token_says_nothing() {
        let odd = [
            token("[]"),
            token(r#"{"exp":"soon"}"#),
            "opaque".to_owned(),
            "a.b".to_owned(),
            "a.!.c".to_owned(),
        ];
        for token in odd.iter().chain([&format!("{}.x", token("{}"))]) {
            assert_eq!(read(token), Claims::default(), "{token}");
        }
    }
}
