//! What is wrong with a broker's certificate: librdkafka only says that something is.
//!
//! Asks with a handshake of its own, once, when librdkafka has refused a certificate. Contract: bounded in time, sends
//! nothing but the handshake, changes nothing; where it finds no fault it says nothing.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, ClientConnection, RootCertStore};

use super::refusal::{Kind, Refusal};
use crate::config::{Kafka, Security};

/// Bound of connecting, and of each read and write.
const BOUND: Duration = Duration::from_secs(3);

/// `refusal` with what is wrong with the certificate that it is about, as far as that can be found out.
pub fn explain(refusal: Refusal, kafka: &Kafka) -> Refusal {
    let (Security::Tls(tls) | Security::SaslTls(tls, _)) = &kafka.security else { return refusal };
    // Without it the system's authorities are trusted, of which only librdkafka knows where they are.
    let Some(ca) = tls.ca.as_deref().filter(|_| refusal.kind == Kind::Certificate) else { return refusal };
    let Some(broker) = broker(&refusal.what) else { return refusal };
    match fault(broker, ca) {
        Some((what, cure)) => Refusal { kind: Kind::Certificate, what, cure },
        None => refusal,
    }
}

/// `host:port` of the broker that librdkafka's words begin with: `ssl://host:port: ...`.
fn broker(what: &str) -> Option<&str> {
    let (_, rest) = what.split_once("://")?;
    Some(rest.split_once(": ").map_or(rest, |(broker, _)| broker))
}

fn fault(broker: &str, ca: &Path) -> Option<(String, &'static str)> {
    let error = handshake(broker, ca).err()?;
    let Some(rustls::Error::InvalidCertificate(fault)) =
        error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>())
    else {
        return None;
    };
    let date = |time: UnixTime| {
        let seconds = i64::try_from(time.as_secs()).ok()?;
        Some(format!(" on {}", jiff::Timestamp::from_second(seconds).ok()?))
    };
    Some(match fault {
        CertificateError::ExpiredContext { not_after, .. } => (
            format!("the certificate of {broker} expired{}", date(*not_after).unwrap_or_default()),
            "Renew it at the broker; if it is good, set the clock of this machine right",
        ),
        CertificateError::Expired => {
            (format!("the certificate of {broker} has expired"), "Renew it at the broker")
        }
        CertificateError::NotValidYetContext { not_before, .. } => (
            format!("the certificate of {broker} begins{}", date(*not_before).unwrap_or_default()),
            "Set the clock of this machine right",
        ),
        // The signature is bad when an authority was made anew under its old name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => (
            format!("the certificate of {broker} is not signed by an authority in {}", ca.display()),
            "Name the file with the authority of the brokers in kafka.tls.ca",
        ),
        CertificateError::NotValidForNameContext { presented, .. } => (
            format!("the certificate of {broker} is for other names: {}", names(presented)),
            "Use one of these names in kafka.brokers and in the brokers' advertised.listeners, or give the broker a \
             certificate for the name that is used",
        ),
        _ => return None,
    })
}

/// Names without how the library writes their kind: `DnsName("kafka")`.
fn names(presented: &[String]) -> String {
    let plain = |name: &String| {
        let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
        inner.unwrap_or(name).trim_matches('"').to_owned()
    };
    presented.iter().map(plain).collect::<Vec<_>>().join(", ")
}

/// Shakes hands as a client that trusts `ca`.
fn handshake(broker: &str, ca: &Path) -> io::Result<()> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_file_iter(ca).map_err(io::Error::other)? {
        roots.add(authority.map_err(io::Error::other)?).map_err(io::Error::other)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (host, _) = broker.rsplit_once(':').unwrap_or((broker, ""));
    let host = host.trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(host).map_err(io::Error::other)?;
    let mut session = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let address = broker.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
    let mut stream = TcpStream::connect_timeout(&address, BOUND)?;
    stream.set_read_timeout(Some(BOUND))?;
    stream.set_write_timeout(Some(BOUND))?;
    while session.is_handshaking() {
        session.complete_io(&mut stream)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::io::Read;
    use std::net::TcpListener;

    use rcgen::{CertificateParams, CertifiedIssuer, Issuer, KeyPair, date_time_ymd};
    use rustls::pki_types::PrivateKeyDer;

    struct Authority {
        issuer: CertifiedIssuer<'static, KeyPair>,
        _folder: tempfile::TempDir,
        file: std::path::PathBuf,
    }

    fn authority() -> Authority {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, issuer.pem()).unwrap();
        Authority { issuer, _folder: folder, file }
    }

    /// A TLS server with a certificate of `authority` for `name`; its address.
    fn server(authority: &Authority, name: &str, expired: bool) -> String {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        if expired {
            params.not_after = date_time_ymd(2020, 2, 29);
        }
        let key = KeyPair::generate().unwrap();
        let issuer: &Issuer<'static, KeyPair> = &authority.issuer;
        let certificate = params.signed_by(&key, issuer).unwrap();
        let config =
            rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(
                    vec![certificate.der().clone()],
                    PrivateKeyDer::Pkcs8(key.serialize_der().into()),
                )
                .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
                // Whoever does not trust us goes away, which is no concern of the server.
                let _ = rustls::StreamOwned::new(session, stream.unwrap()).read(&mut [0; 1]);
            }
        });
        address
    }

    #[test]
    fn a_certificate_that_is_not_trusted_is_told_by_its_fault() {
        let (ours, theirs) = (authority(), authority());
        for (authority, name, expired, what, cure) in [
            (&ours, "127.0.0.1", true, "expired on 2020-02-29", "Renew it"),
            (&theirs, "127.0.0.1", false, "not signed by an authority in", "kafka.tls.ca"),
            (&ours, "kafka.example.com", false, ": kafka.example.com", "advertised.listeners"),
        ] {
            let address = server(authority, name, expired);
            let fault = fault(&address, &ours.file).expect("there is a fault");
            assert!(
                fault.0.contains(&address) && fault.0.contains(what) && fault.1.contains(cure),
                "{fault:?}"
            );
        }
        assert_eq!(fault(&server(&ours, "127.0.0.1", false), &ours.file), None);
        assert_eq!(fault("127.0.0.1:1", &ours.file), None, "nobody is there");
    }

    #[test]
    fn the_broker_is_read_out_of_librdkafkas_words() {
        assert_eq!(broker("ssl://kafka:9093: SSL handshake failed: x"), Some("kafka:9093"));
        assert_eq!(broker("SSL handshake failed"), None);
    }
}
