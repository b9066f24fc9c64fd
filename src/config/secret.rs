//! Secrets: where they come from, read again when a file changes, never printable.
//!
//! Contract: a [`Secret`] that exists has a value; a file that later becomes unreadable or empty leaves the last
//! good one. Neither the value nor its [`Fingerprint`] reaches `Debug` or an error.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ring::digest;
use secrecy::{ExposeSecret, SecretString};

use super::mark::Mark;

/// How often a file is looked at, at most.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// A secret above this size is surely the wrong file.
const MAX_BYTES: u64 = 64 * 1024;

/// A secret by reference: `{env: NAME}` or `{file: PATH}`; a literal only where `allow_literal_secrets` is set.
///
/// `Debug` shows where it comes from, never what it is. Cloning shares the value.
#[derive(Clone)]
pub struct Secret(Arc<Origin>);

enum Origin {
    Literal(SecretString),
    Variable(String, SecretString),
    File(PathBuf, Mutex<Kept>),
    Several(Vec<Secret>, AtomicUsize),
}

/// The last good value of a file.
struct Kept {
    value: SecretString,
    mark: Mark,
    checked: Instant,
}

/// Tells whether two secrets have the same value, without being one. Not printable.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 8]);

impl Fingerprint {
    /// Of any text that a quota may belong to.
    pub(crate) fn of(text: &str) -> Self {
        let hash = digest::digest(&digest::SHA256, text.as_bytes());
        // SHA-256 is longer than eight bytes, so every place is filled.
        let mut first = [0; 8];
        first.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
        Fingerprint(first)
    }

    /// In hexadecimal digits, for identities that are compared and not shown.
    pub(crate) fn tag(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(..)")
    }
}

/// Why a file gives no secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// There is nothing in it.
    #[error("is empty")]
    Empty,
}

impl Secret {
    /// A secret that is known already: for tests and the simulator.
    pub fn literal(value: &str) -> Self {
        Secret(Arc::new(Origin::Literal(value.into())))
    }

    /// The value of the variable `name`; `None` when it is empty.
    pub(crate) fn from_variable(name: &str, value: &str) -> Option<Self> {
        let value = without_newline(value);
        let origin = Origin::Variable(name.to_owned(), value.into());
        (!value.is_empty()).then(|| Secret(Arc::new(origin)))
    }

    /// Several that may be good, in their order: while keys are rotated, the old one and the new one.
    pub(crate) fn several(secrets: Vec<Secret>) -> Self {
        Secret(Arc::new(Origin::Several(secrets, AtomicUsize::new(0))))
    }

    /// How many there are of it.
    pub(crate) fn count(&self) -> usize {
        match &*self.0 {
            Origin::Several(secrets, _) => secrets.len(),
            _ => 1,
        }
    }

    /// The one in use was refused: from now on the next one is used, where there are several. Whether there are.
    pub fn next(&self) -> bool {
        match &*self.0 {
            Origin::Several(secrets, active) if secrets.len() > 1 => {
                active.fetch_add(1, Ordering::Relaxed);
                true
            }
            _ => false,
        }
    }

    /// Stands for a secret that nobody will ask for, where no vendor is called.
    pub(crate) fn absent(name: &str) -> Self {
        Secret(Arc::new(Origin::Variable(name.to_owned(), SecretString::default())))
    }

    /// What stands in the file at `path`.
    pub(crate) fn from_file(path: &Path) -> Result<Self, Unusable> {
        let (value, mark) = read(path)?;
        let kept = Kept { value, mark, checked: Instant::now() };
        Ok(Secret(Arc::new(Origin::File(path.to_owned(), Mutex::new(kept)))))
    }

    /// The value as it is now; a file that changed is read again. A file that cannot be read keeps its last value.
    pub fn current(&self) -> SecretString {
        self.at(Instant::now())
    }

    /// Whether it only stands for a secret that is not there, in a configuration that was read offline: what its
    /// value must look like cannot be checked then.
    pub fn is_absent(&self) -> bool {
        self.current().expose_secret().is_empty()
    }

    /// Equal for equal values: two provider instances with the same credential share one quota.
    pub fn fingerprint(&self) -> Fingerprint {
        match &*self.0 {
            // Whichever is in use: they are of one tenant and one quota.
            Origin::Several(secrets, _) => secrets.first().map_or(Fingerprint([0; 8]), Secret::fingerprint),
            _ => Fingerprint::of(self.current().expose_secret()),
        }
    }

    /// The fingerprint in hexadecimal digits: stands for a tenant that only its key names, in identities that are
    /// compared and not shown.
    pub(crate) fn tag(&self) -> String {
        self.fingerprint().tag()
    }

    /// Whether the value can stand in an HTTP header as it is.
    pub(crate) fn is_visible_ascii(&self) -> bool {
        self.current().expose_secret().bytes().all(|byte| byte.is_ascii_graphic())
    }

    fn at(&self, now: Instant) -> SecretString {
        match &*self.0 {
            Origin::Literal(value) | Origin::Variable(_, value) => value.clone(),
            Origin::Several(secrets, active) => {
                let place = active.load(Ordering::Relaxed) % secrets.len().max(1);
                secrets.get(place).map(|secret| secret.at(now)).unwrap_or_default()
            }
            Origin::File(path, kept) => {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if now.saturating_duration_since(kept.checked) >= CHECK_EVERY {
                    kept.checked = now;
                    let changed = fs::metadata(path).is_ok_and(|metadata| Mark::of(&metadata) != kept.mark);
                    // A failed read leaves the mark as it was, so the next check tries again.
                    if changed && let Ok((value, mark)) = read(path) {
                        (kept.value, kept.mark) = (value, mark);
                    }
                }
                kept.value.clone()
            }
        }
    }
}

/// Whether they come from the same place, which holds the same for both: not whether the values are the same now.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        match (&*self.0, &*other.0) {
            (Origin::Literal(ours), Origin::Literal(theirs)) => {
                ours.expose_secret() == theirs.expose_secret()
            }
            (Origin::Variable(our, ours), Origin::Variable(their, theirs)) => {
                our == their && ours.expose_secret() == theirs.expose_secret()
            }
            (Origin::File(ours, _), Origin::File(theirs, _)) => ours == theirs,
            (Origin::Several(ours, _), Origin::Several(theirs, _)) => ours == theirs,
            _ => false,
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Origin::Literal(_) => f.write_str("Secret(literal)"),
            Origin::Variable(name, _) => write!(f, "Secret(env {name})"),
            Origin::File(path, _) => write!(f, "Secret(file {})", path.display()),
            Origin::Several(secrets, _) => f.debug_list().entries(secrets).finish(),
        }
    }
}

/// Reads a secret and the mark of the file that it came from.
fn read(path: &Path) -> Result<(SecretString, Mark), Unusable> {
    let file = File::open(path)?;
    let mark = Mark::of(&file.metadata()?);
    if mark.length() > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 64 KiB").into());
    }
    let mut text = String::new();
    file.take(MAX_BYTES).read_to_string(&mut text)?;
    let value = without_newline(&text);
    if value.is_empty() { Err(Unusable::Empty) } else { Ok((value.into(), mark)) }
}

/// Editors and `echo` end a file with a newline that no credential has.
fn without_newline(text: &str) -> &str {
    text.trim_end_matches(['\r', '\n'])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    fn text(secret: &Secret, now: Instant) -> String {
        secret.at(now).expose_secret().to_owned()
    }

    #[test]
    fn a_secret_prints_where_it_comes_from_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "hunter2\r\n").unwrap();
        let secrets = [
            (Secret::literal("hunter2"), "Secret(literal)".to_owned()),
            (Secret::from_variable("DD_API_KEY", "hunter2\n").unwrap(), "Secret(env DD_API_KEY)".to_owned()),
            (Secret::from_file(&path).unwrap(), format!("Secret(file {})", path.display())),
        ];
        for (secret, expected) in &secrets {
            assert_eq!(format!("{secret:?}"), *expected);
            assert_eq!(secret.current().expose_secret(), "hunter2");
            assert_eq!(secret.fingerprint(), secrets[0].0.fingerprint());
            assert_eq!(format!("{:?}", secret.fingerprint()), "Fingerprint(..)");
        }
        assert_ne!(Secret::literal("hunter3").fingerprint(), secrets[0].0.fingerprint());
    }

    #[test]
    fn of_several_the_next_one_is_used_once_one_is_refused() {
        let both = Secret::several(vec![Secret::literal("new"), Secret::literal("old")]);
        let (now, fingerprint) = (Instant::now(), both.fingerprint());
        assert_eq!(text(&both, now), "new");
        assert!(both.next() && text(&both, now) == "old" && both.fingerprint() == fingerprint);
        assert!(both.next() && text(&both, now) == "new");
        assert_eq!(format!("{both:?}"), "[Secret(literal), Secret(literal)]");
        assert!(!Secret::literal("only").next() && !Secret::several(vec![Secret::literal("only")]).next());
    }

    #[test]
    fn a_changed_file_is_read_again_but_not_more_than_once_a_second() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "one\n").unwrap();
        let secret = Secret::from_file(&path).unwrap();
        let later = |seconds| Instant::now() + Duration::from_secs(seconds);

        fs::write(&path, "another\n").unwrap();
        assert_eq!(text(&secret, Instant::now()), "one");
        assert_eq!(text(&secret, later(2)), "another");

        // As a mounted secret changes: another file takes the name, of the same length.
        let next = folder.path().join("next");
        fs::write(&next, "rotated\n").unwrap();
        fs::rename(&next, &path).unwrap();
        assert_eq!(text(&secret, later(2)), "another");
        assert_eq!(text(&secret, later(4)), "rotated");
    }

    #[test]
    fn a_file_that_goes_bad_keeps_its_last_value() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "good").unwrap();
        let secret = Secret::from_file(&path).unwrap();
        let later = |seconds| Instant::now() + Duration::from_secs(seconds);

        fs::write(&path, "\n").unwrap();
        assert_eq!(text(&secret, later(2)), "good");
        fs::remove_file(&path).unwrap();
        assert_eq!(text(&secret, later(4)), "good");
        fs::write(&path, "back").unwrap();
        assert_eq!(text(&secret, later(6)), "back");
    }

    #[test]
    fn what_cannot_be_a_secret_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "\n").unwrap();
        assert!(matches!(Secret::from_file(&path), Err(Unusable::Empty)));
        fs::write(&path, "x".repeat(70_000)).unwrap();
        assert!(matches!(Secret::from_file(&path), Err(Unusable::Unreadable(_))));
        assert!(matches!(Secret::from_file(folder.path()), Err(Unusable::Unreadable(_))));
        assert!(Secret::from_variable("X", "").is_none());
    }
}
