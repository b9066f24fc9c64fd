//! The client against servers that close connections at bad moments: HTTP/2 that goes away, and kept connections that end
//! just as they are used.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustls::{ServerConnection, StreamOwned};

use super::*;

const PATIENT: Duration = Duration::from_secs(20);
/// What goes before everything else on a connection (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Types of frames, flags and errors (RFC 9113, 6 and 7).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const NO_ERROR: u32 = 0;
const REFUSED_STREAM: u32 = 7;

type Tls = StreamOwned<ServerConnection, TcpStream>;

/// A connection of HTTP/2, as the vendor sees it.
struct Connection {
    tls: Tls,
    /// Its number, from 0.
    number: usize,
}

impl Connection {
    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.tls.write_all(&frame)?;
        self.tls.flush()
    }

    /// The stream of the next request, which has no body.
    fn request(&mut self) -> io::Result<u32> {
        loop {
            let mut head = [0; 9];
            self.tls.read_exact(&mut head)?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            io::copy(&mut Read::by_ref(&mut self.tls).take(length.into()), &mut io::sink())?;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            match (head[3], head[4]) {
                (HEADERS, _) => return Ok(stream),
                (SETTINGS, flags) if flags & ACK == 0 => self.send(SETTINGS, ACK, 0, &[])?,
                _ => {}
            }
        }
    }

    /// 200, and `{}`.
    fn answer(&mut self, stream: u32) -> io::Result<()> {
        // `:status 200` stands at place 8 of HPACK's static table.
        self.send(HEADERS, END_HEADERS, stream, &[0x88])?;
        self.send(DATA, END, stream, b"{}")
    }

    /// Takes no streams above `last`.
    fn go_away(&mut self, last: u32) -> io::Result<()> {
        self.send(GOAWAY, 0, 0, &[last.to_be_bytes(), NO_ERROR.to_be_bytes()].concat())
    }
}

/// A vendor that speaks HTTP/2 and does with each connection what `behave` does; a client that trusts it, and how many
/// requests arrived.
fn vendor(
    behave: impl Fn(&mut Connection, &AtomicUsize) -> io::Result<()> + Send + Sync + 'static,
) -> (Client, BaseUrl, Arc<AtomicUsize>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let cert = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![cert.der().clone()],
            rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let (config, behave) = (Arc::new(config), Arc::new(behave));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let requests = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&requests);
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let session = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut connection = Connection { tls: StreamOwned::new(session, stream.unwrap()), number };
            let (behave, counted) = (Arc::clone(&behave), Arc::clone(&counted));
            std::thread::spawn(move || {
                let mut preface = [0; PREFACE.len()];
                let begun = connection.tls.read_exact(&mut preface);
                // It ends with an error when the client closes it.
                let _ = begun
                    .and_then(|()| connection.send(SETTINGS, 0, 0, &[]))
                    .and_then(|()| behave(&mut connection, &counted));
                connection.tls.conn.send_close_notify();
                let _ = connection.tls.flush();
            });
        }
    });
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(cert.pem().as_bytes()).unwrap();
    let settings =
        Settings { ca: Some(file.path().to_owned()), proxy: ProxyChoice::Direct, ..Settings::default() };
    (Client::new(&settings).unwrap(), BaseUrl::parse(&format!("https://localhost:{port}")).unwrap(), requests)
}

fn ask(base: &BaseUrl) -> Request {
    Request::get(base.join(&["risk", "john.doe"], "", &[]).unwrap())
}

/// The next request, counted.
fn next(connection: &mut Connection, requests: &AtomicUsize) -> io::Result<u32> {
    let stream = connection.request()?;
    requests.fetch_add(1, Ordering::SeqCst);
    Ok(stream)
}

/// Answers all that comes.
fn well(connection: &mut Connection, requests: &AtomicUsize) -> io::Result<()> {
    loop {
        let stream = next(connection, requests)?;
        connection.answer(stream)?;
    }
}

#[tokio::test]
async fn a_connection_that_goes_away_finishes_what_it_has_taken_and_the_next_request_opens_another() {
    let (client, base, requests) = vendor(|connection, requests| {
        if connection.number > 0 {
            return well(connection, requests);
        }
        let stream = next(connection, requests)?;
        connection.go_away(stream)?;
        connection.answer(stream)?;
        // It is the client that closes it.
        connection.request().map(drop)
    });
    for expected in 1..=3 {
        let response = client.send(ask(&base), PATIENT).await.unwrap();
        assert_eq!((response.status, &response.body[..]), (200, &b"{}"[..]));
        assert_eq!(requests.load(Ordering::SeqCst), expected, "each is sent once");
    }
}

#[tokio::test]
async fn a_request_that_the_vendor_did_not_take_before_it_went_away_is_sent_again() {
    let (client, base, requests) = vendor(|connection, requests| {
        if connection.number > 0 {
            return well(connection, requests);
        }
        next(connection, requests)?;
        connection.go_away(0)
    });
    let response = client.send(ask(&base), PATIENT).await.unwrap();
    assert_eq!((response.status, requests.load(Ordering::SeqCst)), (200, 2));
}

#[tokio::test]
async fn a_hundred_requests_that_were_not_taken_are_all_sent_again_and_none_fails() {
    let (client, base, requests) = vendor(|connection, requests| {
        if connection.number > 0 {
            return well(connection, requests);
        }
        // The first is answered, so that all others find the connection.
        let first = next(connection, requests)?;
        connection.answer(first)?;
        for _ in 0..100 {
            next(connection, requests)?;
        }
        connection.go_away(first)
    });
    assert_eq!(client.send(ask(&base), PATIENT).await.unwrap().status, 200);
    let asking: Vec<_> = (0..100)
        .map(|_| {
            let (client, request) = (client.clone(), ask(&base));
            tokio::spawn(async move { client.send(request, PATIENT).await })
        })
        .collect();
    for asked in asking {
        assert_eq!(asked.await.unwrap().unwrap().status, 200);
    }
    assert_eq!(requests.load(Ordering::SeqCst), 201);
}

#[tokio::test]
async fn a_stream_that_is_refused_is_asked_again_and_one_that_is_refused_for_ever_ends() {
    for refusals in [1, usize::MAX] {
        let (client, base, requests) = vendor(move |connection, requests| {
            loop {
                let stream = next(connection, requests)?;
                if requests.load(Ordering::SeqCst) <= refusals {
                    connection.send(RST_STREAM, 0, stream, &REFUSED_STREAM.to_be_bytes())?;
                } else {
                    connection.answer(stream)?;
                }
            }
        });
        let answer = client.send(ask(&base), PATIENT).await;
        let made = requests.load(Ordering::SeqCst);
        match refusals {
            1 => assert_eq!((answer.unwrap().status, made), (200, 2)),
            _ => {
                let error = answer.unwrap_err();
                assert!(matches!(error, HttpError::Unreachable(_)), "{error:?}");
                assert_eq!(made, 3, "within the bound");
            }
        }
    }
}

#[tokio::test]
async fn a_connection_that_breaks_after_it_took_the_request_is_unreachable_and_not_asked_again_here() {
    let (client, base, requests) = vendor(|connection, requests| {
        let stream = next(connection, requests)?;
        connection.go_away(stream)
    });
    let error = client.send(ask(&base), PATIENT).await.unwrap_err();
    assert!(matches!(error, HttpError::Unreachable(_)), "{error:?}");
    assert_eq!(requests.load(Ordering::SeqCst), 1, "it may have been counted: that is the guard's to repeat");
}

/// A vendor that speaks HTTP/1.1 and closes its first connection when a second request comes on it, which it reads before,
/// or not: bytes that nobody read make it a reset.
fn racing(reads: bool) -> (BaseUrl, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&requests);
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let (mut stream, counted) = (stream.unwrap(), Arc::clone(&counted));
            std::thread::spawn(move || {
                let mut bytes = [0; 4096];
                for request in 0.. {
                    let races = number == 0 && request == 1;
                    let read =
                        if races && !reads { stream.peek(&mut bytes) } else { stream.read(&mut bytes) };
                    if read.unwrap_or(0) == 0 {
                        return;
                    }
                    counted.fetch_add(1, Ordering::SeqCst);
                    if races {
                        return;
                    }
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}");
                }
            });
        }
    });
    (BaseUrl::parse(&format!("http://{address}")).unwrap(), requests)
}

#[tokio::test]
async fn a_kept_connection_that_closes_just_as_it_is_used_is_unreachable_once_and_never_used_again() {
    for reads in [true, false] {
        let (base, requests) = racing(reads);
        let client = Client::new(&Settings { proxy: ProxyChoice::Direct, ..Settings::default() }).unwrap();
        let mut came = Vec::new();
        for _ in 0..4 {
            came.push(client.send(ask(&base), PATIENT).await.map(|response| response.status));
        }
        let raced = came.remove(1);
        assert!(matches!(raced, Err(HttpError::Unreachable(_))), "{raced:?}");
        assert_eq!((came, requests.load(Ordering::SeqCst)), (vec![Ok(200); 3], 4), "read: {reads}");
    }
}
