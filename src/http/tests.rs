//! The client against real servers that behave badly.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use secrecy::SecretString;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const PATIENT: Duration = Duration::from_secs(20);

fn client() -> Client {
    Client::new(&Settings { proxy: ProxyChoice::Direct, ..Settings::default() }).unwrap()
}

/// Serves `router` on a port of its own.
async fn serve(router: Router) -> BaseUrl {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    at(address)
}

/// Hands every connection to `behave`, after its request was read.
async fn raw<F: Future + Send + 'static>(behave: fn(TcpStream) -> F) -> BaseUrl
where
    F::Output: Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                behave(stream).await
            });
        }
    });
    at(address)
}

fn at(address: SocketAddr) -> BaseUrl {
    BaseUrl::parse(&format!("http://{address}")).unwrap()
}

fn ask(base: &BaseUrl) -> Request {
    Request::get(base.join(&["risk", "john.doe"], "", &[]).unwrap())
}

fn holds_no_identifier(error: &HttpError) {
    let text = format!("{error} {error:?}");
    assert!(!text.contains("john.doe") && !text.contains("/risk"), "{text}");
}

#[tokio::test]
async fn a_response_comes_back_whole_whatever_its_status() {
    let echo = |headers: HeaderMap| async move {
        let agent = headers["user-agent"].to_str().unwrap().to_owned();
        let accept = headers["accept"].to_str().unwrap().to_owned();
        (StatusCode::IM_A_TEAPOT, [("X-Thing", "a")], format!("{agent} {accept}"))
    };
    let base = serve(Router::new().route("/risk/{id}", get(echo))).await;
    let response = client().send(ask(&base), PATIENT).await.unwrap();
    assert_eq!(response.status, 418);
    assert_eq!(response.header("x-thing"), Some("a"));
    let body = std::str::from_utf8(&response.body).unwrap();
    assert!(body.starts_with("riskstream/") && body.ends_with(" application/json"), "{body}");
}

#[tokio::test]
async fn json_and_forms_arrive_as_they_were_meant() {
    let echo = |headers: HeaderMap, body: String| async move {
        format!("{} {body}", headers["content-type"].to_str().unwrap())
    };
    let base = serve(Router::new().route("/", post(echo))).await;
    let url = base.join(&[], "", &[]).unwrap();
    let sent = client().send(Request::post_json(url.clone(), &json!({"a": [1]})), PATIENT).await.unwrap();
    assert_eq!(sent.body, "application/json {\"a\":[1]}");
    let sent = client().send(Request::post_form(url, &[("a b", "1&2=3"), ("c", "")]), PATIENT).await.unwrap();
    assert_eq!(sent.body, "application/x-www-form-urlencoded a%20b=1%262%3D3&c=");
}

#[test]
fn debug_output_shows_neither_secrets_nor_the_address_nor_the_body() {
    let request = Request::post_json("https://h.example/john.doe".into(), &json!({"key": "hunter2"}))
        .header("x-plain", "seen")
        .secret_header("authorization", &SecretString::from("Bearer hunter2"));
    let text = format!("{request:?}");
    assert!(!text.contains("hunter2") && !text.contains("john.doe") && text.contains("seen"), "{text}");
}

#[tokio::test]
async fn a_header_with_a_line_break_is_never_sent() {
    let base = serve(Router::new()).await;
    let request = ask(&base).header("x-tenant", "a\r\nx-admin: 1");
    let error = client().send(request, PATIENT).await.unwrap_err();
    assert!(matches!(error, HttpError::BadRequest(_)), "{error}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_a_timeout() {
    let base = raw(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let error = client().send(ask(&base), Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(error, HttpError::Timeout(Duration::from_millis(50)));
}

#[tokio::test]
async fn a_body_that_never_ends_is_a_timeout() {
    let base = raw(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{").await.unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let error = client().send(ask(&base), Duration::from_millis(200)).await.unwrap_err();
    assert_eq!(error, HttpError::Timeout(Duration::from_millis(200)));
}

#[tokio::test]
async fn a_closed_port_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = at(listener.local_addr().unwrap());
    drop(listener);
    let error = client().send(ask(&base), PATIENT).await.unwrap_err();
    assert!(matches!(error, HttpError::Unreachable(_)), "{error}");
    holds_no_identifier(&error);
}

#[tokio::test]
async fn a_connection_that_breaks_is_unreachable_before_and_within_the_body() {
    let before = raw(|stream| async move { stream.set_zero_linger() }).await;
    let within = raw(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{").await.unwrap();
    })
    .await;
    for base in [before, within] {
        let error = client().send(ask(&base), PATIENT).await.unwrap_err();
        assert!(matches!(error, HttpError::Unreachable(_)), "{error:?}");
        holds_no_identifier(&error);
    }
}

#[tokio::test]
async fn what_is_not_http_is_unreachable() {
    let base = raw(|mut stream| async move { stream.write_all(b"SSH-2.0-hello\r\n\r\n").await }).await;
    let error = client().send(ask(&base), PATIENT).await.unwrap_err();
    assert!(matches!(error, HttpError::Unreachable(_)), "{error:?}");
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let elsewhere = serve(Router::new().route("/stolen", get(|| async { "followed" }))).await;
    let target = elsewhere.join(&["stolen"], "", &[]).unwrap();
    let redirect = move || async move { (StatusCode::FOUND, [("location", target)]) };
    let base = serve(Router::new().route("/risk/{id}", get(redirect))).await;
    assert_eq!(client().send(ask(&base), PATIENT).await.unwrap().status, 302);
}

fn limited(body_limit: usize) -> Client {
    Client::new(&Settings { body_limit, proxy: ProxyChoice::Direct, ..Settings::default() }).unwrap()
}

#[tokio::test]
async fn a_body_at_the_limit_is_fine_and_one_above_it_is_not() {
    let base = serve(Router::new().route("/risk/{id}", get(|| async { "x".repeat(1000) }))).await;
    assert_eq!(limited(1000).send(ask(&base), PATIENT).await.unwrap().body.len(), 1000);
    assert_eq!(limited(999).send(ask(&base), PATIENT).await.unwrap_err(), HttpError::BodyTooLarge(999));
}

#[tokio::test]
async fn a_large_body_waits_for_its_turn_and_small_ones_do_not() {
    let large = serve(Router::new().route("/risk/{id}", get(|| async { "x".repeat(SMALL_BODY + 1) }))).await;
    let small = serve(Router::new().route("/risk/{id}", get(|| async { "x".repeat(SMALL_BODY) }))).await;
    let client = client();
    let mut held = Vec::new();
    for _ in 0..LARGE_BODIES {
        held.push(client.send(ask(&large), PATIENT).await.unwrap());
    }
    let soon = Duration::from_millis(100);
    assert_eq!(client.send(ask(&large), soon).await.unwrap_err(), HttpError::Timeout(soon));
    assert_eq!(client.send(ask(&small), PATIENT).await.unwrap().body.len(), SMALL_BODY);
    held.pop();
    assert_eq!(client.send(ask(&large), PATIENT).await.unwrap().body.len(), SMALL_BODY + 1);
}

#[tokio::test]
async fn a_body_of_unsaid_length_is_cut_off_at_the_limit() {
    let base = raw(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
        // Until the client hangs up.
        while stream.write_all(b"a\r\n0123456789\r\n").await.is_ok() {}
    })
    .await;
    let error = limited(100_000).send(ask(&base), PATIENT).await.unwrap_err();
    assert_eq!(error, HttpError::BodyTooLarge(100_000));
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

async fn serve_packed(body: Vec<u8>) -> BaseUrl {
    let answer = move || async move { ([("content-encoding", "gzip")], body) };
    serve(Router::new().route("/risk/{id}", get(answer))).await
}

#[tokio::test]
async fn gzip_is_unpacked_within_the_limit() {
    let base = serve_packed(gzip(b"{\"a\":1}")).await;
    assert_eq!(client().send(ask(&base), PATIENT).await.unwrap().body, "{\"a\":1}");
    // 50 MB of zeros in 50 KB: a twentieth of the limit packed, fifty times the limit unpacked.
    let bomb = serve_packed(gzip(&vec![0; 50_000_000])).await;
    let error = limited(1_000_000).send(ask(&bomb), PATIENT).await.unwrap_err();
    assert_eq!(error, HttpError::BodyTooLarge(1_000_000));
}

#[tokio::test]
async fn gzip_that_is_not_gzip_is_a_broken_body() {
    let base = serve_packed(b"<html>".to_vec()).await;
    let error = client().send(ask(&base), PATIENT).await.unwrap_err();
    assert!(matches!(error, HttpError::BodyBroken(_)), "{error:?}");
    holds_no_identifier(&error);
}

#[tokio::test]
async fn no_encryption_only_for_this_machine_unless_allowed() {
    let request = || Request::get("http://vendor.invalid/john.doe".to_owned());
    let error = client().send(request(), PATIENT).await.unwrap_err();
    assert!(matches!(&error, HttpError::BadRequest(text) if text.contains("allow_http")), "{error}");
    holds_no_identifier(&error);
    let settings = Settings { allow_http: true, proxy: ProxyChoice::Direct, ..Settings::default() };
    let error = Client::new(&settings).unwrap().send(request(), PATIENT).await.unwrap_err();
    assert!(matches!(error, HttpError::Unreachable(_)), "{error}");
}

#[tokio::test]
async fn a_configured_proxy_carries_every_request() {
    let answer = |mut stream: TcpStream| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nby proxy!").await
    };
    let proxy = ProxyChoice::Via(raw(answer).await);
    let client = Client::new(&Settings { allow_http: true, proxy, ..Settings::default() }).unwrap();
    // A name that nobody resolves: only the proxy can have answered.
    let request = Request::get("http://vendor.invalid/risk".to_owned());
    assert_eq!(client.send(request, PATIENT).await.unwrap().body, "by proxy!");
}

/// A TLS server that answers every connection once, with a certificate for `name` that is good until `year`; returns its address
/// as `localhost` and its certificate.
fn serve_tls(name: &str, year: i32) -> (BaseUrl, String) {
    use std::io::{Read, Write};
    let mut params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    let signing_key = rcgen::KeyPair::generate().unwrap();
    let cert = params.self_signed(&signing_key).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![cert.der().clone()],
            rustls::pki_types::PrivateKeyDer::Pkcs8(signing_key.serialize_der().into()),
        )
        .unwrap();
    let config = std::sync::Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let session = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut stream = rustls::StreamOwned::new(session, stream.unwrap());
            if stream.read(&mut [0; 4096]).is_ok() {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}");
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        }
    });
    (BaseUrl::parse(&format!("https://localhost:{port}")).unwrap(), cert.pem())
}

#[tokio::test]
async fn a_certificate_that_nobody_trusts_fails_the_handshake_until_its_authority_is_named() {
    let (base, certificate) = serve_tls("localhost", 2099);
    let error = client().send(ask(&base), PATIENT).await.unwrap_err();
    assert!(matches!(error, HttpError::Tls(_)), "{error:?}");
    holds_no_identifier(&error);

    assert_eq!(trusting(&certificate).send(ask(&base), PATIENT).await.unwrap().body, "{}");
}

/// A client that trusts this authority.
fn trusting(certificate: &str) -> Client {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, certificate.as_bytes()).unwrap();
    let ca = Some(file.path().to_owned());
    Client::new(&Settings { ca, proxy: ProxyChoice::Direct, ..Settings::default() }).unwrap()
}

#[tokio::test]
async fn a_certificate_of_another_host_or_one_that_has_ended_is_refused_although_its_authority_is_trusted() {
    for (name, year) in [("vendor.example", 2099), ("localhost", 2020)] {
        let (base, certificate) = serve_tls(name, year);
        let error = trusting(&certificate).send(ask(&base), PATIENT).await.unwrap_err();
        assert!(matches!(error, HttpError::Tls(_)), "{name} {year}: {error:?}");
        holds_no_identifier(&error);
    }
}

#[tokio::test]
async fn what_comes_before_the_answer_is_passed_over() {
    let base = raw(|mut stream| async move {
        let early = "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n".repeat(3);
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        stream.write_all(format!("{early}{answer}").as_bytes()).await
    })
    .await;
    let response = client().send(ask(&base), PATIENT).await.unwrap();
    assert_eq!((response.status, &response.body[..]), (200, &b"{}"[..]));
}

#[test]
fn files_that_hold_no_certificates_are_named() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, b"hunter2").unwrap();
    let path = file.path().to_owned();
    let settings = |ca, client_cert| Settings { ca, client_cert, ..Settings::default() };
    for settings in [settings(Some(path.clone()), None), settings(None, Some(path.clone()))] {
        let message = Client::new(&settings).unwrap_err().to_string();
        assert!(message.contains(path.to_str().unwrap()) && !message.contains("hunter2"), "{message}");
    }
    let message = Client::new(&settings(Some("absent.pem".into()), None)).unwrap_err().to_string();
    assert!(message.contains("absent.pem"), "{message}");
}
