//! A proxy between Kafka's clients and a broker that understands the framing of requests and answers, and loses,
//! delays or cuts what it is told to.
//!
//! Contract: what is lost was carried out: the broker has answered. Bytes that pass are not changed. It knows of a
//! request its kind and its number, and nothing else.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Kinds of requests, by their numbers in Kafka's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Api(pub i16);

/// Records.
pub const PRODUCE: Api = Api(0);
/// Offsets of a group.
pub const OFFSET_COMMIT: Api = Api(8);
/// What a group has committed.
pub const OFFSET_FETCH: Api = Api(9);
/// A sign of life of a member.
pub const HEARTBEAT: Api = Api(12);
/// A producer makes itself known.
pub const INIT_PRODUCER_ID: Api = Api(22);
/// Partitions of a transaction.
pub const ADD_PARTITIONS_TO_TXN: Api = Api(24);
/// A group whose offsets a transaction commits.
pub const ADD_OFFSETS_TO_TXN: Api = Api(25);
/// The end of a transaction.
pub const END_TXN: Api = Api(26);
/// Offsets in a transaction.
pub const TXN_OFFSET_COMMIT: Api = Api(28);

/// Answers that are to be lost.
#[derive(Clone, Copy, Debug)]
struct Loss {
    /// Answers that pass before the next one is lost.
    pass: u64,
    /// Answers that pass between two that are lost.
    every: u64,
    /// How many are yet to be lost.
    times: u64,
    /// Whether all is silence from then on.
    closes: bool,
}

#[derive(Default)]
struct State {
    refuses: bool,
    over: bool,
    losses: BTreeMap<Api, Loss>,
    delays: BTreeMap<Api, Duration>,
    lost: BTreeMap<Api, u64>,
    passed: BTreeMap<Api, u64>,
    /// Both ends of each connection.
    connections: Vec<[TcpStream; 2]>,
}

struct Shared {
    target: SocketAddr,
    state: Mutex<State>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A proxy while it runs.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

impl Proxy {
    /// From `listen` to `target`.
    pub fn start(listen: &str, target: &str) -> Proxy {
        let listener = TcpListener::bind(listen).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { target: target.parse().unwrap(), state: Mutex::default() });
        let listening = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for client in listener.incoming().map_while(Result::ok) {
                    if shared.state().over {
                        break;
                    }
                    // A broker that is away: the client sees its connection end.
                    let _ = join(&shared, client);
                }
            }
        });
        Proxy { address, shared, listener: Some(listening) }
    }

    /// Loses the answers of `times` requests of a kind, the first of them after `pass` others, then each after as many,
    /// and cuts the connection with each.
    pub fn lose(&self, api: Api, pass: u64, times: u64) {
        self.shared.state().losses.insert(api, Loss { pass, every: pass, times, closes: false });
    }

    /// Loses one answer of a kind after `pass` others, cuts every connection with it and takes no new one.
    pub fn lose_and_close(&self, api: Api, pass: u64) {
        self.shared.state().losses.insert(api, Loss { pass, every: 0, times: 1, closes: true });
    }

    /// How many answers of a kind were lost.
    pub fn lost(&self, api: Api) -> u64 {
        self.shared.state().lost.get(&api).copied().unwrap_or(0)
    }

    /// How many answers of a kind have passed.
    pub fn passed(&self, api: Api) -> u64 {
        self.shared.state().passed.get(&api).copied().unwrap_or(0)
    }

    /// Holds back answers of a kind, and all behind them on their connection, for `delay` each.
    pub fn delay(&self, api: Api, delay: Duration) {
        self.shared.state().delays.insert(api, delay);
    }

    /// Cuts all connections.
    pub fn cut(&self) {
        cut(&mut self.shared.state());
    }

    /// Takes no new connections, or takes them again.
    pub fn refuse(&self, refuse: bool) {
        self.shared.state().refuses = refuse;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.state().over = true;
        // Wakes it from its waiting for a client.
        drop(TcpStream::connect(self.address));
        self.cut();
        let _ = self.listener.take().unwrap().join();
    }
}

/// Begins to carry what a client and the broker say.
fn join(shared: &Arc<Shared>, client: TcpStream) -> io::Result<()> {
    let mut state = shared.state();
    if state.refuses {
        return Ok(());
    }
    let broker = TcpStream::connect(shared.target)?;
    for end in [&client, &broker] {
        end.set_nodelay(true)?;
    }
    state.connections.push([client.try_clone()?, broker.try_clone()?]);
    drop(state);
    let asked = Arc::new(Mutex::new(HashMap::new()));
    let (to_broker, to_client) = ((client.try_clone()?, broker.try_clone()?), (broker, client));
    std::thread::spawn({
        let asked = Arc::clone(&asked);
        move || {
            let (from, to) = to_broker;
            let _ = requests(&from, &to, &asked);
            [from, to].iter().for_each(|end| drop(end.shutdown(Shutdown::Both)));
        }
    });
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        let (from, to) = to_client;
        let _ = answers(&shared, &from, &to, &asked);
        [from, to].iter().for_each(|end| drop(end.shutdown(Shutdown::Both)));
    });
    Ok(())
}

/// Requests that are not answered, by their number on their connection.
type Asked = Mutex<HashMap<[u8; 4], Api>>;

/// Carries requests: length, kind, version, number, and the rest.
fn requests(mut from: &TcpStream, mut to: &TcpStream, asked: &Asked) -> io::Result<()> {
    loop {
        let mut head = [0; 12];
        from.read_exact(&mut head)?;
        let [l0, l1, l2, l3, a0, a1, _, _, number @ ..] = head;
        asked.lock().unwrap().insert(number, Api(i16::from_be_bytes([a0, a1])));
        to.write_all(&head)?;
        let rest = u64::from(u32::from_be_bytes([l0, l1, l2, l3])) - 8;
        io::copy(&mut from.take(rest), &mut to)?;
    }
}

/// Carries answers: length, number, and the rest. Ends when one is lost.
fn answers(shared: &Shared, mut from: &TcpStream, mut to: &TcpStream, asked: &Asked) -> io::Result<()> {
    loop {
        let mut head = [0; 8];
        from.read_exact(&mut head)?;
        let [l0, l1, l2, l3, number @ ..] = head;
        let api = asked.lock().unwrap().remove(&number);
        let delay = {
            let mut state = shared.state();
            if let Some(api) = api {
                if is_lost(&mut state, api) {
                    return Ok(());
                }
                *state.passed.entry(api).or_default() += 1;
            }
            api.and_then(|api| state.delays.get(&api).copied()).unwrap_or_default()
        };
        std::thread::sleep(delay);
        to.write_all(&head)?;
        let rest = u64::from(u32::from_be_bytes([l0, l1, l2, l3])) - 4;
        io::copy(&mut from.take(rest), &mut to)?;
    }
}

fn cut(state: &mut State) {
    for end in state.connections.drain(..).flatten() {
        let _ = end.shutdown(Shutdown::Both);
    }
}

fn is_lost(state: &mut State, api: Api) -> bool {
    let Some(loss) = state.losses.get_mut(&api).filter(|loss| loss.times > 0) else { return false };
    if loss.pass > 0 {
        loss.pass -= 1;
        return false;
    }
    loss.pass = loss.every;
    loss.times -= 1;
    if loss.closes {
        state.refuses = true;
        cut(state);
    }
    *state.lost.entry(api).or_default() += 1;
    true
}

mod tests {
    use super::*;

    /// A broker that answers each request with its number; the kinds that it has carried out, in order.
    fn broker() -> (String, Arc<Mutex<Vec<i16>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let done = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&done);
        std::thread::spawn(move || {
            for mut client in listener.incoming().map_while(Result::ok) {
                let log = Arc::clone(&log);
                std::thread::spawn(move || {
                    let mut head = [0; 12];
                    while client.read_exact(&mut head).is_ok() {
                        let length = u32::from_be_bytes(head[..4].try_into().unwrap()) as usize;
                        let mut rest = vec![0; length - 8];
                        client.read_exact(&mut rest).unwrap();
                        log.lock().unwrap().push(i16::from_be_bytes([head[4], head[5]]));
                        let mut answer = ((rest.len() + 4) as u32).to_be_bytes().to_vec();
                        answer.extend_from_slice(&head[8..]);
                        answer.extend_from_slice(&rest);
                        if client.write_all(&answer).is_err() {
                            break;
                        }
                    }
                });
            }
        });
        (address, done)
    }

    /// Asks something and reads the answer, which has the bytes of the question.
    fn ask(client: &mut TcpStream, api: Api, number: i32, body: &[u8]) -> io::Result<()> {
        let mut request = ((body.len() + 8) as u32).to_be_bytes().to_vec();
        request.extend_from_slice(&api.0.to_be_bytes());
        request.extend_from_slice(&[0, 9]);
        request.extend_from_slice(&number.to_be_bytes());
        request.extend_from_slice(body);
        client.write_all(&request)?;
        let mut answer = vec![0; body.len() + 8];
        client.read_exact(&mut answer)?;
        assert_eq!((&answer[4..8], &answer[8..]), (&number.to_be_bytes()[..], body));
        Ok(())
    }

    #[test]
    fn an_answer_is_lost_after_its_request_was_carried_out_and_the_connection_with_it() {
        let (address, done) = broker();
        let proxy = Proxy::start("127.0.0.1:0", &address);
        proxy.lose(END_TXN, 1, 2);
        let mut client = TcpStream::connect(proxy.address).unwrap();
        let large = vec![7; 3 << 20];
        ask(&mut client, PRODUCE, 1, &large).unwrap();
        ask(&mut client, END_TXN, 2, b"").unwrap();
        ask(&mut client, PRODUCE, 3, b"x").unwrap();
        ask(&mut client, END_TXN, 4, b"y").expect_err("the second one is lost");
        assert_eq!(*done.lock().unwrap(), [0, 26, 0, 26]);
        assert_eq!((proxy.lost(END_TXN), proxy.passed(END_TXN), proxy.passed(PRODUCE)), (1, 1, 2));
        // One more, again after one that passes; then no more.
        for (number, passes) in [(1, true), (2, false), (3, true), (4, true)] {
            if number % 2 == 1 {
                client = TcpStream::connect(proxy.address).unwrap();
            }
            assert_eq!(ask(&mut client, END_TXN, number, b"z").is_ok(), passes, "{number}");
        }
        assert_eq!((proxy.lost(END_TXN), done.lock().unwrap().len()), (2, 8));
    }

    #[test]
    fn answers_are_held_back_connections_cut_and_refused() {
        let (address, _) = broker();
        let proxy = Proxy::start("127.0.0.1:0", &address);
        proxy.delay(HEARTBEAT, Duration::from_millis(300));
        let mut client = TcpStream::connect(proxy.address).unwrap();
        let started = std::time::Instant::now();
        ask(&mut client, HEARTBEAT, 1, b"").unwrap();
        assert!(started.elapsed() >= Duration::from_millis(300));
        proxy.cut();
        ask(&mut client, PRODUCE, 2, b"").expect_err("cut");
        proxy.refuse(true);
        let refused =
            TcpStream::connect(proxy.address).and_then(|mut client| ask(&mut client, PRODUCE, 3, b""));
        refused.expect_err("refused");
        proxy.refuse(false);
        let mut other = TcpStream::connect(proxy.address).unwrap();
        ask(&mut other, PRODUCE, 4, b"").unwrap();
        proxy.lose_and_close(END_TXN, 0);
        ask(&mut TcpStream::connect(proxy.address).unwrap(), END_TXN, 5, b"").expect_err("lost");
        assert_eq!(proxy.lost(END_TXN), 1);
        ask(&mut other, PRODUCE, 6, b"").expect_err("all are cut");
        let refused =
            TcpStream::connect(proxy.address).and_then(|mut client| ask(&mut client, PRODUCE, 7, b""));
        refused.expect_err("refused");
    }
}
