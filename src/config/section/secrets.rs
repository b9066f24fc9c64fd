//! Reading secrets: `{env: NAME}`, `{file: PATH}`, or literal where that is permitted.
//!
//! Contract: no problem recorded here repeats a value.

use super::Section;
use crate::config::Secret;
use crate::config::raw::{Entry, Node, Place, Value};

impl<'t> Section<'t> {
    /// A secret: `{env: NAME}` or `{file: PATH}`. A variable laid over the key is one by itself.
    pub fn secret(&mut self, key: &'static str) -> Option<Secret> {
        let node = self.value(key)?;
        let path = self.child(key);
        self.secret_at(node, &path)
    }

    /// A secret that must be there.
    pub fn required_secret(&mut self, key: &'static str) -> Option<Secret> {
        self.required(key, &format!("write {key}: {{env: NAME}} or {key}: {{file: PATH}}"));
        self.secret(key)
    }

    /// A secret, or a list of them while keys are rotated: when one is refused the next one is used.
    pub fn rotating_secret(&mut self, key: &'static str) -> Option<Secret> {
        let node = self.value(key)?;
        let path = self.child(key);
        let Value::List(items) = &node.value else { return self.secret_at(node, &path) };
        let secret = |(number, item): (usize, &'t Node)| self.secret_at(item, &format!("{path}[{number}]"));
        // Each is read, so that each problem is told.
        let secrets: Vec<Option<Secret>> = items.iter().enumerate().map(secret).collect();
        if secrets.is_empty() {
            self.problem(key, "an empty list", "write {env: NAME} or {file: PATH}, or a list of them");
        }
        let secrets: Vec<Secret> = secrets.into_iter().collect::<Option<_>>()?;
        (!secrets.is_empty()).then(|| Secret::several(secrets))
    }

    /// The same, which must be there.
    pub fn required_rotating_secret(&mut self, key: &'static str) -> Option<Secret> {
        self.required(key, &format!("write {key}: {{env: NAME}} or {key}: {{file: PATH}}"));
        self.rotating_secret(key)
    }

    /// Two that belong together and must be there: lists of them have as many members each, or one has one for all.
    pub fn required_rotating_pair(&mut self, keys: [&'static str; 2]) -> Option<[Secret; 2]> {
        let [one, other] = keys.map(|key| self.required_rotating_secret(key));
        let (one, other) = (one?, other?);
        if one.count() != other.count() && one.count() > 1 && other.count() > 1 {
            let [first, second] = keys;
            let what = format!("a list of {}, and {first} is one of {}", other.count(), one.count());
            self.problem(second, what, "write as many, those that belong together at the same place");
        }
        Some([one, other])
    }

    /// The value of one of [`entries`](Section::entries) as a secret.
    pub(crate) fn entry_secret(&self, entry: &'t Entry) -> Option<Secret> {
        self.secret_at(&entry.value, &self.child(&entry.key))
    }

    /// A secret in `node`.
    fn secret_at(&self, node: &'t Node, path: &str) -> Option<Secret> {
        let report =
            |place: &Place, what: String, cure: &str| self.document.report(place, path, None, what, cure);
        const FORM: &str = "write {env: NAME} or {file: PATH}";
        match (&node.value, &node.place) {
            (Value::Scalar(value), place) if value.trim().is_empty() => {
                report(place, "empty".to_owned(), FORM);
                None
            }
            (Value::Scalar(value), Place::Variable(name)) => Secret::from_variable(name, value),
            (Value::Scalar(value), _) if self.document.allows_literals() => Some(Secret::literal(value)),
            (Value::Scalar(_), place) => {
                let cure =
                    "write {env: NAME} or {file: PATH}; allow_literal_secrets: true permits it for trials";
                report(place, "a secret in plain sight".to_owned(), cure);
                None
            }
            (Value::Map(_), place) => {
                let mut section = Section::new(self.document, node, place, path.to_owned());
                let (variable, file) = (section.variable_name(), section.text("file"));
                let secret = match (variable, file) {
                    (Some(name), None) => self.variable(&mut section, &name),
                    (None, Some(file)) => {
                        let file = self.document.resolve(&file);
                        match Secret::from_file(&file) {
                            Ok(secret) => Some(secret),
                            Err(_) if self.document.is_offline() => {
                                Some(Secret::absent(&file.to_string_lossy()))
                            }
                            Err(error) => {
                                let cure = format!("put the secret into {}", file.display());
                                section.refuse("file", format!("the file {error}"), cure)
                            }
                        }
                    }
                    (Some(_), Some(_)) => {
                        report(place, "both env and file".to_owned(), FORM);
                        None
                    }
                    (None, None) => {
                        if !section.has("env") && !section.has("file") {
                            report(place, "neither env nor file".to_owned(), FORM);
                        }
                        None
                    }
                };
                section.finish();
                secret
            }
            (Value::Null | Value::List(_), place) => {
                report(place, "not a secret".to_owned(), FORM);
                None
            }
        }
    }

    /// The name under `env`. Shown only where it is written as names of variables are: else it may be the secret
    /// itself, put in the wrong place.
    fn variable_name(&mut self) -> Option<String> {
        match &self.value("env")?.value {
            Value::Scalar(text) if !text.is_empty() && !is_conventional(text) => Some(text.clone()),
            _ => self.text("env"),
        }
    }

    fn variable(&self, section: &mut Section<'_>, name: &str) -> Option<Secret> {
        let secret = self.document.variable(name).map(|value| Secret::from_variable(name, value));
        let what = match secret {
            Some(Some(secret)) => return Some(secret),
            _ if self.document.is_offline() => return Some(Secret::absent(name)),
            Some(None) => "the environment variable is empty",
            None => "the environment variable is not set",
        };
        let shown = if is_conventional(name) { name } else { "it" };
        section.refuse("env", what, format!("set {shown}, or write {{file: PATH}}"))
    }
}

/// Whether `name` is of upper-case letters, digits and underscores.
fn is_conventional(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}
