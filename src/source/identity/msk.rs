//! AWS MSK's IAM: a token is an address that is signed here with AWS's own credentials.
//!
//! Only in a build with the feature `msk-iam`. Contract: credentials are found as every AWS tool finds them
//! (environment, web identity of a service account, profile, the machine's role); they are asked for again for each
//! token. Not tested against AWS: the form of the token is.

use std::error::Error;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_credential_types::provider::SharedCredentialsProvider;
use aws_credential_types::provider::error::CredentialsError;
use aws_msk_iam_sasl_signer as signer;
use aws_types::region::Region;

use super::{Token, TokenError};
use crate::config::sasl;

/// Bound of finding credentials, which may ask the machine or AWS for them.
const BOUND: Duration = Duration::from_secs(20);

const CURE: &str = "Give the process AWS credentials: a role of its service account, of the machine, or a profile; \
     AWS_REGION and the like are read as by every AWS tool";

/// The signer for one region.
pub struct MskIam {
    region: Region,
    /// `None`: as every AWS tool finds them.
    credentials: Option<SharedCredentialsProvider>,
}

impl MskIam {
    /// For the region of `config`.
    pub fn new(config: &sasl::MskIam) -> Self {
        MskIam { region: Region::new(config.region.clone()), credentials: None }
    }

    /// Signs a token.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn fetch(&self) -> Result<Token, TokenError> {
        let region = self.region.clone();
        let sign = async {
            match &self.credentials {
                Some(credentials) => {
                    signer::generate_auth_token_from_credentials_provider(region, credentials.clone()).await
                }
                None => signer::generate_auth_token(region).await,
            }
        };
        let signed = tokio::time::timeout(BOUND, sign).await;
        let signed =
            signed.map_err(|_| TokenError::Unavailable(format!("no AWS credentials within {BOUND:?}")))?;
        let (value, until) = signed.map_err(|error| judge(&error))?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let until = Duration::from_millis(u64::try_from(until).unwrap_or_default());
        Ok(Token {
            value: value.into(),
            // AWS reads it out of the signature.
            principal: "riskstream".to_owned(),
            life: until.saturating_sub(since),
            extensions: Vec::new(),
        })
    }
}

/// What an error of the signer means. Its words may name files and roles, and no secrets.
fn judge(error: &(dyn Error + 'static)) -> TokenError {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<CredentialsError>());
    let words = |error: &dyn Error| {
        let mut text = error.to_string();
        let mut next = error.source();
        while let Some(cause) = next {
            text = format!("{text}: {cause}");
            next = cause.source();
        }
        text
    };
    match cause {
        Some(CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_)) => {
            TokenError::Refused { what: words(error), cure: CURE }
        }
        _ => TokenError::Unavailable(words(error)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use aws_credential_types::Credentials;
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use secrecy::ExposeSecret;

    fn msk(credentials: Credentials) -> MskIam {
        let config = sasl::MskIam { region: "eu-central-1".to_owned() };
        MskIam { credentials: Some(SharedCredentialsProvider::new(credentials)), ..MskIam::new(&config) }
    }

    #[tokio::test]
    async fn a_token_is_a_signed_address_of_the_region_that_is_good_for_fifteen_minutes() {
        let token = msk(Credentials::new("AKIAFAKE", "hunter2", None, None, "test")).fetch().await.unwrap();
        let address = URL_SAFE_NO_PAD.decode(token.value.expose_secret()).unwrap();
        let address = String::from_utf8(address).unwrap();
        assert!(
            address.starts_with("https://kafka.eu-central-1.amazonaws.com/?Action=kafka-cluster%3AConnect")
        );
        for part in ["X-Amz-Credential=AKIAFAKE%2F", "X-Amz-Signature=", "X-Amz-Expires=900"] {
            assert!(address.contains(part), "{part} in {address}");
        }
        assert!(!address.contains("hunter2"));
        assert!(
            token.life > Duration::from_secs(880) && token.life <= Duration::from_secs(900),
            "{:?}",
            token.life
        );
    }

    #[test]
    fn no_credentials_at_all_is_for_a_person_and_a_slow_answer_is_not() {
        #[derive(Debug, thiserror::Error)]
        #[error("failed")]
        struct Outer(#[from] CredentialsError);
        let none = judge(&Outer(CredentialsError::not_loaded("nothing in the chain")));
        assert!(
            matches!(&none, TokenError::Refused { .. }) && none.to_string().contains("nothing"),
            "{none}"
        );
        let slow = judge(&Outer(CredentialsError::provider_timed_out(BOUND)));
        assert!(matches!(slow, TokenError::Unavailable(_)));
    }
}
