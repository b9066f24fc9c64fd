//! Reading one mapping of the configuration, key by key, collecting every problem on the way.
//!
//! Contract: a reader returns `None` both for an absent key and for a bad one, and in the second case has
//! recorded a problem with file, line, key, the value given and what to write instead. [`Section::finish`]
//! reports every key that nobody asked for, with the nearest known one.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::Secret;
use crate::http::BaseUrl;

/// A cursor on one mapping of the configuration tree.
pub struct Section<'t> {
    _tree: std::marker::PhantomData<&'t ()>,
}

#[allow(unused_variables)]
impl<'t> Section<'t> {
    /// The dotted path of this mapping: `providers.datadog`.
    pub fn path(&self) -> &str {
        todo!()
    }
    /// Whether the key is there (and not null).
    pub fn has(&self, key: &str) -> bool {
        todo!()
    }
    /// A string; a number or flag is taken as it is spelled.
    pub fn text(&mut self, key: &'static str) -> Option<String> {
        todo!()
    }
    /// A string that must be there; `example` shows what to write.
    pub fn required_text(&mut self, key: &'static str, example: &str) -> Option<String> {
        todo!()
    }
    /// One of a closed set of words.
    pub fn choice<T: Clone>(&mut self, key: &'static str, words: &[(&'static str, T)]) -> Option<T> {
        todo!()
    }
    /// `true` or `false`.
    pub fn flag(&mut self, key: &'static str) -> Option<bool> {
        todo!()
    }
    /// A whole number in a range.
    pub fn integer(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        todo!()
    }
    /// A number in a range.
    pub fn number(&mut self, key: &'static str, range: RangeInclusive<f64>) -> Option<f64> {
        todo!()
    }
    /// A duration: `250ms`, `2s`, `15m`, `24h`, `7d`.
    pub fn duration(&mut self, key: &'static str) -> Option<Duration> {
        todo!()
    }
    /// A size in bytes: `900KB` (1000), `64MiB` (1024).
    pub fn bytes(&mut self, key: &'static str) -> Option<u64> {
        todo!()
    }
    /// A secret.
    pub fn secret(&mut self, key: &'static str) -> Option<Secret> {
        todo!()
    }
    /// A secret that must be there.
    pub fn required_secret(&mut self, key: &'static str) -> Option<Secret> {
        todo!()
    }
    /// The path of a file, relative to the configuration file.
    pub fn file(&mut self, key: &'static str) -> Option<PathBuf> {
        todo!()
    }
    /// An address of an HTTP service.
    pub fn url(&mut self, key: &'static str) -> Option<BaseUrl> {
        todo!()
    }
    /// A list of strings; one string stands for a list of one.
    pub fn texts(&mut self, key: &'static str) -> Option<Vec<String>> {
        todo!()
    }
    /// A nested mapping.
    pub fn section(&mut self, key: &'static str) -> Option<Section<'t>> {
        todo!()
    }
    /// Every entry of this mapping as (key, nested mapping): for maps with free keys. Entries of another form
    /// are problems.
    pub fn sections(&mut self) -> Vec<(String, Section<'t>)> {
        todo!()
    }
    /// Every entry of this mapping as (key, text): for maps with free keys.
    pub fn all_texts(&mut self) -> Vec<(String, String)> {
        todo!()
    }
    /// A list of mappings.
    pub fn list(&mut self, key: &'static str) -> Option<Vec<Section<'t>>> {
        todo!()
    }
    /// Records a problem with `key`: what is wrong with the value given, and what to write instead.
    pub fn problem(&mut self, key: &str, what: impl Into<String>, cure: impl Into<String>) {
        todo!()
    }
    /// Reports the keys that nobody asked for.
    pub fn finish(self) {
        todo!()
    }
}
