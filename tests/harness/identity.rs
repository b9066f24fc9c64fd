//! An identity provider: gives tokens for client credentials, signed with the key that the broker trusts.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};

/// The only client that it knows.
pub const CLIENT: &str = "riskstream";

/// How it answers.
#[derive(Clone, Debug)]
pub struct Script {
    /// Closes every connection without a word.
    pub away: bool,
    /// The client's secret.
    pub secret: String,
    /// The life of a token.
    pub life: Duration,
    /// How long a token has been over already when it is given.
    pub over: Duration,
    /// Whom tokens are for.
    pub audience: String,
}

/// The provider while it runs; it ends with the process.
pub struct IdentityProvider {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
    requests: Arc<Mutex<Vec<String>>>,
    tokens: Arc<Mutex<Vec<String>>>,
}

impl IdentityProvider {
    /// One that gives tokens of `life`, with the key and the words of `broker.sh env`.
    pub fn start(life: Duration) -> IdentityProvider {
        let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name}"));
        let key = RsaKeyPair::from_pkcs8(&std::fs::read(variable("KAFKA_TOKEN_KEY")).unwrap()).unwrap();
        let issuer = variable("KAFKA_TOKEN_ISSUER");
        let script = Script {
            away: false,
            secret: "a+secret/with signs:~".to_owned(),
            life,
            over: Duration::ZERO,
            audience: variable("KAFKA_TOKEN_AUDIENCE"),
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let provider = IdentityProvider {
            address: listener.local_addr().unwrap(),
            script: Arc::new(Mutex::new(script)),
            requests: Arc::default(),
            tokens: Arc::default(),
        };
        let (script, requests, tokens) =
            (Arc::clone(&provider.script), Arc::clone(&provider.requests), Arc::clone(&provider.tokens));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let script = script.lock().unwrap().clone();
                if script.away {
                    continue;
                }
                let Some((head, form)) = read(stream.as_ref().unwrap()) else { continue };
                requests.lock().unwrap().push(form);
                let token = token(&key, &issuer, &script);
                let (status, body) = answer(&script, &head, &token);
                if status == 200 {
                    tokens.lock().unwrap().push(token);
                }
                let body = body.to_string();
                let length = body.len();
                // A client that went away is no concern of the provider.
                let _ = write!(
                    stream.unwrap(),
                    "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
                     connection: close\r\n\r\n{body}"
                );
            }
        });
        provider
    }

    /// Where tokens are given.
    pub fn endpoint(&self) -> String {
        format!("http://{}/realms/tests/token", self.address)
    }

    /// The client's secret.
    pub fn secret(&self) -> String {
        self.script.lock().unwrap().secret.clone()
    }

    /// Answers otherwise from now on.
    pub fn change(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.script.lock().unwrap());
    }

    /// The forms of all requests.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// All tokens that were given.
    pub fn tokens(&self) -> Vec<String> {
        self.tokens.lock().unwrap().clone()
    }
}

/// The head and the form of a request.
fn read(stream: &TcpStream) -> Option<(String, String)> {
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().ok())?
    });
    let mut form = vec![0; length?];
    reader.read_exact(&mut form).ok()?;
    Some((head, String::from_utf8(form).ok()?))
}

/// Status and body for a request with this head.
fn answer(script: &Script, head: &str, token: &str) -> (u16, Value) {
    assert!(head.starts_with("POST /realms/tests/token HTTP/1.1\r\n"), "{head}");
    let basic = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("authorization").then(|| value.strip_prefix("Basic "))?
    });
    let pair = STANDARD.decode(basic.unwrap_or_default()).unwrap();
    let pair = String::from_utf8(pair).unwrap();
    let (client, secret) = pair.split_once(':').unwrap_or_default();
    let plain = |text| percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned();
    if (plain(client), plain(secret)) != (CLIENT.to_owned(), script.secret.clone()) {
        let words = "Invalid client or Invalid client credentials";
        return (401, json!({"error": "invalid_client", "error_description": words}));
    }
    let life = script.life.as_secs();
    (200, json!({"access_token": token, "expires_in": life, "token_type": "Bearer", "scope": "kafka"}))
}

/// A token for alice, who may do everything.
fn token(key: &RsaKeyPair, issuer: &str, script: &Script) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() - script.over;
    let end = if script.over.is_zero() { now + script.life } else { now };
    let claims = json!({
        "iss": issuer, "aud": script.audience, "sub": "alice", "scope": "kafka",
        "iat": (now - Duration::from_secs(1)).as_secs(), "exp": end.as_secs(),
        "jti": format!("{}", now.as_nanos()),
    });
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed =
        format!("{}.{}", encode(&json!({"alg": "RS256", "kid": "tests", "typ": "JWT"})), encode(&claims));
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}
