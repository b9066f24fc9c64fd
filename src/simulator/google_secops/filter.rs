//! The part of the vendor's filter language that its page shows: comparisons, joined by `AND`.
//!
//! Stricter than the vendor may be, so that a filter with anything unmeant in it is noticed. Pure.

/// One comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// `entity_indicator.email`
    pub path: String,
    /// `:`, `=`, `!=`, `<`, `<=`, `>` or `>=`.
    pub operator: String,
    /// Without its quotes.
    pub value: String,
}

/// Reads a whole filter.
///
/// # Errors
/// Says what was expected, and where.
pub fn parse(filter: &str) -> Result<Vec<Condition>, String> {
    let mut rest = filter.trim();
    let mut conditions = Vec::new();
    loop {
        let expected = |what: &str, rest: &str| {
            format!("expected {what} at byte {}", filter.trim_end().len().saturating_sub(rest.len()))
        };
        let length = rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.')));
        let (path, after) = rest.split_at(length.unwrap_or(rest.len()));
        if path.is_empty() {
            return Err(expected("a field", rest));
        }
        rest = after.trim_start();
        let operators = ["!=", "<=", ">=", ":", "=", "<", ">"];
        let Some(operator) = operators.into_iter().find(|operator| rest.starts_with(operator)) else {
            return Err(expected("an operator", rest));
        };
        rest = rest.get(operator.len()..).unwrap_or_default().trim_start();
        let (value, after) = value(rest).ok_or_else(|| expected("a value", rest))?;
        conditions.push(Condition { path: path.to_owned(), operator: operator.to_owned(), value });
        rest = after.trim_start();
        if rest.is_empty() {
            return Ok(conditions);
        }
        let Some(next) = rest.strip_prefix("AND") else {
            return Err(expected("AND", rest));
        };
        rest = next.strip_prefix(' ').ok_or_else(|| expected("a space", next))?.trim_start();
    }
}

/// A quoted string, in which `\` stands before `"` and `\`, or a number; and what follows it.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '-' | '.'))).unwrap_or(text.len());
        let (number, rest) = text.split_at(end);
        return (!number.is_empty()).then(|| (number.to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some((value, quoted.get(at + 1..)?)),
            '\\' => value.push(characters.next().map(|(_, c)| c).filter(|c| matches!(c, '"' | '\\'))?),
            c if c.is_control() => return None,
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn the_examples_of_the_vendors_page_are_understood() {
        for (filter, conditions) in [
            (
                r#"risk_window.start_time >= "2023-08-10T14:20:59.950218416Z" AND risk_window.end_time <= "2023-08-17T14:20:59.950219626Z""#,
                2,
            ),
            ("risk_score<20", 1),
            ("risk_delta>=12 AND risk_delta<=850", 2),
            ("detections_count < 10", 1),
            (r#"entity.metadata.entity_type="ASSET""#, 1),
            (r#"entity_indicator.email: "test@example.com""#, 1),
            (r#"entity_indicator.hostname="test_hostname""#, 1),
        ] {
            assert_eq!(parse(filter).unwrap().len(), conditions, "{filter}");
        }
    }

    #[test]
    fn what_is_in_quotes_is_a_value_and_nothing_else() {
        let conditions = parse(r#"a.b: "x\" AND c=\"y\\" AND d=1"#).unwrap();
        assert_eq!(conditions[0].value, r#"x" AND c="y\"#);
        assert_eq!(conditions[1].path, "d");
    }

    #[test]
    fn what_is_no_filter_is_refused_with_its_place() {
        for filter in
            ["", "a", "a=", r#"a="x"#, r#"a="x" OR b="y""#, r#"a="x"b="y""#, r#"a="\n""#, "a=1 AND "]
        {
            assert!(parse(filter).unwrap_err().starts_with("expected "), "{filter}");
        }
        assert_eq!(parse(r#"a="x" OR b=1"#).unwrap_err(), "expected AND at byte 6");
    }
}
