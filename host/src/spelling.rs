//! What a misspelt key was meant to be.

/// The known word that `word` is a misspelling of, if one is near enough: another case, `-` for `_`, a plural, two wrong
/// letters.
pub(crate) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let word = plain(word);
    let near = known.into_iter().filter_map(|known| Some((distance(&word, &plain(known))?, known)));
    near.min_by_key(|(distance, _)| *distance).map(|(_, known)| known)
}

/// Whether two keys differ only in case and in what stands between their words.
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    plain(one) == plain(other)
}

fn plain(word: &str) -> String {
    word.chars().filter(|letter| !matches!(letter, '-' | '_' | ' ')).flat_map(char::to_lowercase).collect()
}

/// How many letters differ, or `None` if the words have little in common.
fn distance(one: &str, other: &str) -> Option<usize> {
    let letters = one.chars().count().min(other.chars().count());
    let common = one.chars().zip(other.chars()).take_while(|(one, other)| one == other).count();
    let distance = strsim::osa_distance(one, other);
    let is_near = distance <= 2.min(letters / 3) || common >= 4 && common + 2 >= letters;
    is_near.then_some(distance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_word_is_near_what_it_was_meant_to_be_and_another_is_not() {
        let known = ["capabilities", "component", "memory_max", "name", "resources"];
        for (word, meant) in [
            ("memory-max", Some("memory_max")),
            ("memoryMax", Some("memory_max")),
            ("memory_maximum", Some("memory_max")),
            ("capability", Some("capabilities")),
            ("Capabilites", Some("capabilities")),
            ("compnent", Some("component")),
            ("components", Some("component")),
            ("nmae", Some("name")),
            ("nam", Some("name")),
            ("deployment", None),
            ("company", None),
            ("tool", None),
        ] {
            assert_eq!(nearest(word, known), meant, "{word}");
        }
    }
}
