//! How problems speak of words: lists of choices, and the word that was probably meant.
//!
//! Pure.

/// `a`, `a or b`, `a, b or c`.
pub(crate) fn or(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [word] => (*word).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// The known word that `word` was probably meant to be.
pub(crate) fn nearest<'w>(word: &str, known: &[&'w str]) -> Option<&'w str> {
    let word = word.to_lowercase().replace('-', "_");
    known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min()
        .map(|(_, candidate)| candidate)
}

/// `, nearest is word`, where one is near; for the end of a sentence on what is wrong.
pub(crate) fn hint(word: &str, known: &[&str]) -> String {
    nearest(word, known).map(|word| format!(", nearest is {word}")).unwrap_or_default()
}
