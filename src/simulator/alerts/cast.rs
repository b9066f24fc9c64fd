//! Who appears in the alerts: names by rank, the same for every seed.
//!
//! Contract: a rank is one entity, whatever format it appears in. All names are made up; domains and public
//! addresses are those that are set aside for examples.

use crate::simulator::population::mix;
use crate::simulator::{Options, World, cloudflare};

/// Ranks of people.
pub const PEOPLE: usize = 1024;
/// Ranks of hosts, and of the agents on them.
pub const HOSTS: usize = 1500;
/// Ranks of cloud identities.
pub const IDENTITIES: usize = 1500;
/// Ranks of public addresses.
pub const ADDRESSES: usize = 700;
/// Ranks of people with an id at Cloudflare: its account has no more.
pub const MEMBERS: u32 = cloudflare::USERS;

const FIRST: [&str; 32] = [
    "ada", "alice", "amir", "anna", "bea", "bo", "carlos", "chen", "dana", "diego", "elif", "emma", "fatima",
    "felix", "grace", "hana", "ines", "ivan", "jamal", "jun", "kofi", "lena", "liam", "maria", "mei",
    "nadia", "noah", "omar", "priya", "sofia", "tom", "yuki",
];
const LAST: [&str; 32] = [
    "abe", "almeida", "bauer", "chen", "costa", "diaz", "eriksen", "fischer", "garcia", "haddad", "ito",
    "jansen", "kaya", "keller", "kim", "kowalski", "lopez", "martin", "meyer", "mwangi", "nguyen", "novak",
    "okafor", "patel", "rossi", "sato", "silva", "singh", "smith", "tanaka", "weber", "yilmaz",
];
const ACCOUNTS: [&str; 4] = ["123456789012", "210987654321", "345678901234", "456789012345"];

fn at<'n>(names: &[&'n str], index: u64) -> &'n str {
    names.get((index % names.len().max(1) as u64) as usize).copied().unwrap_or_default()
}

/// A short name: `mmeyer` with the rank where it is not the first of that name.
pub fn login(rank: usize) -> String {
    let (first, last) = (at(&FIRST, rank as u64), at(&LAST, (rank / FIRST.len()) as u64));
    format!("{}{last}{}", first.get(..1).unwrap_or_default(), rank % FIRST.len())
}

/// `maria.meyer`.
pub fn name(rank: usize) -> String {
    format!("{}.{}", at(&FIRST, rank as u64), at(&LAST, (rank / FIRST.len()) as u64))
}

/// `maria.meyer@example.com`.
pub fn email(rank: usize) -> String {
    format!("{}@example.com", name(rank))
}

/// The e-mails on Cloudflare's lists, as far as a default world knows them: others cannot be asked about without
/// their id.
pub fn members() -> Vec<String> {
    let world = World::new(Options::default());
    (0..MEMBERS).map(cloudflare::email).filter(|email| world.profile(email).is_some()).collect()
}

/// `ws-1044.corp.example.com` or `srv-db-07.corp.example.com`.
pub fn host(rank: usize) -> String {
    match rank % 3 {
        0 => format!(
            "srv-{}-{rank:03}.corp.example.com",
            at(&["db", "web", "app", "file", "dc"], rank as u64 / 3)
        ),
        _ => format!("ws-{rank:04}.corp.example.com"),
    }
}

/// The id of the agent on a host: 32 hexadecimal digits.
pub fn endpoint(rank: usize) -> String {
    format!("{:016x}{:016x}", mix(rank as u64 ^ 0xE0), mix(rank as u64 ^ 0xE1))
}

/// The account of a cloud identity.
pub fn account(rank: usize) -> &'static str {
    at(&ACCOUNTS, mix(rank as u64))
}

/// What an identity is called within its account.
pub fn identity_name(rank: usize) -> String {
    if is_user(rank) {
        return name(rank % PEOPLE);
    }
    let team = at(&["payments", "search", "data", "platform", "billing", "mobile"], mix(rank as u64) >> 8);
    format!("{team}-{}-{rank}", at(&["deploy", "reader", "batch", "admin"], rank as u64 / 2))
}

/// Whether a cloud identity is a user rather than a role.
pub fn is_user(rank: usize) -> bool {
    rank.is_multiple_of(2)
}

/// The ARN of a cloud identity.
pub fn arn(rank: usize) -> String {
    let sort = if is_user(rank) { "user" } else { "role" };
    format!("arn:aws:iam::{}:{sort}/{}", account(rank), identity_name(rank))
}

/// The private address of a host.
pub fn private_ip(rank: usize) -> String {
    format!("10.{}.{}.{}", rank / 250 % 250, rank % 250, mix(rank as u64) % 250 + 1)
}

/// A public address.
pub fn public_ip(rank: usize) -> String {
    let block = at(&["192.0.2", "198.51.100", "203.0.113"], rank as u64);
    format!("{block}.{}", rank / 3 % 254 + 1)
}
