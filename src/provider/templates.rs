//! `identifiers`: which kinds of entities a vendor is asked about, and in which form.
//!
//! Pure. Contract: a kind is asked about when the vendor knows it of its own or when it has a template. Whether
//! the result is an identifier that the vendor takes is the vendor's business.

use std::borrow::Cow;

use crate::entity::{Entity, EntityKind};

/// What stands for the identifier in a template.
pub const PLACE: &str = "{value}";

/// The kinds that one provider is asked about, with the configured templates.
#[derive(Clone, Debug, PartialEq)]
pub struct Templates {
    kinds: Vec<EntityKind>,
    configured: Vec<(EntityKind, String)>,
}

impl Templates {
    /// The kinds that the vendor knows of its `own`, then those that only a `configured` template brings.
    pub fn new(own: &[EntityKind], configured: Vec<(EntityKind, String)>) -> Self {
        let mut kinds = own.to_vec();
        for (kind, _) in &configured {
            if !kinds.contains(kind) {
                kinds.push(*kind);
            }
        }
        Templates { kinds, configured }
    }

    /// The same without the kinds whose template is not `good`: they cannot be asked about.
    pub fn only(mut self, good: impl Fn(EntityKind, &str) -> bool) -> Self {
        let (good, bad): (Vec<_>, Vec<_>) =
            self.configured.into_iter().partition(|(kind, template)| good(*kind, template));
        self.kinds.retain(|kind| bad.iter().all(|(other, _)| other != kind));
        Templates { configured: good, ..self }
    }

    /// Every kind that is asked about, each once.
    pub fn kinds(&self) -> &[EntityKind] {
        &self.kinds
    }

    /// The configured template of `kind`.
    pub fn get(&self, kind: EntityKind) -> Option<&str> {
        self.configured.iter().find(|(known, _)| *known == kind).map(|(_, template)| template.as_str())
    }

    /// What to ask about: the identifier in the template of its kind, or as it is where there is none; `None` for
    /// a kind that is not asked about.
    pub fn fill(&self, entity: &Entity) -> Option<String> {
        self.spell(entity.kind, &entity.id).map(Cow::into_owned)
    }

    /// The same for a canonical identifier; borrowed where there is no template.
    pub fn spell<'e>(&self, kind: EntityKind, id: &'e str) -> Option<Cow<'e, str>> {
        match self.get(kind) {
            Some(template) => Some(template.replace(PLACE, id).into()),
            None => self.kinds.contains(&kind).then_some(id.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use EntityKind::{Host, Ip, User};

    fn templates() -> Templates {
        let configured = [(Host, "host:{value}"), (User, "{value}@example.com")];
        Templates::new(&[User, Ip], configured.map(|(kind, text)| (kind, text.to_owned())).into())
    }

    fn fill(templates: &Templates, kind: EntityKind, id: &str) -> Option<String> {
        templates.fill(&Entity::new(kind, id))
    }

    #[test]
    fn kinds_are_the_vendors_own_and_the_configured_ones_each_once() {
        assert_eq!(templates().kinds(), [User, Ip, Host]);
    }

    #[test]
    fn a_template_is_filled_and_a_kind_without_one_is_asked_about_as_it_is() {
        let templates = templates();
        assert_eq!(fill(&templates, User, "jdoe").as_deref(), Some("jdoe@example.com"));
        assert_eq!(fill(&templates, Host, "ws-17").as_deref(), Some("host:ws-17"));
        assert_eq!(fill(&templates, Ip, "10.0.0.1").as_deref(), Some("10.0.0.1"));
        assert_eq!(fill(&templates, EntityKind::File, "a"), None);
        assert_eq!((templates.get(Host), templates.get(Ip)), (Some("host:{value}"), None));
    }

    #[test]
    fn an_identifier_that_looks_like_a_template_is_not_filled_again() {
        assert_eq!(fill(&templates(), User, "{value}").as_deref(), Some("{value}@example.com"));
    }

    #[test]
    fn a_kind_with_a_template_that_is_no_good_is_not_asked_about() {
        let templates = templates().only(|kind, _| kind != User);
        assert_eq!(templates.kinds(), [Ip, Host]);
        assert_eq!((templates.get(User), fill(&templates, User, "jdoe")), (None, None));
    }
}
