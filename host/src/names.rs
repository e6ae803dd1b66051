//! What the files of a store are called, as `guest/src/catalog.rs` has it.

/// The names under which the files of a pair are made, and those that its commit gives them, in its order.
pub(crate) const PAIR: [(&str, &str); 3] = [
    ("snapshot.sum.new", "snapshot.sum"),
    ("snapshot.json.new", "snapshot.json"),
    ("snapshot.seq.new", "snapshot.seq"),
];

/// Where native minisnap 0.1.2 makes its files.
pub(crate) const NATIVE: [&str; 2] = ["snapshot.seq.tmp", "snapshot.json.tmp"];

/// Marks a directory that a later version wrote.
pub(crate) const LATER: &str = "snapshot.layout";

/// Whether a file of this name is a store's own.
pub(crate) fn is_own(name: &str) -> bool {
    is_of_pair(name) || generation_in(name).is_some()
}

pub(crate) fn is_of_pair(name: &str) -> bool {
    PAIR.iter().any(|(new, moved)| name == *new || name == *moved) || NATIVE.contains(&name)
}

/// The number in a file's name, and what stands behind it, if it is that of a generation: one that is there, is being made, or
/// was set aside or undone.
pub(crate) fn generation_in(name: &str) -> Option<(u64, &str)> {
    let (digits, end) = name.strip_prefix("snapshot_")?.split_at_checked(20)?;
    let seq = digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    let is_further = |end: &str| {
        let count = end.strip_prefix('-').and_then(|count| count.parse::<u64>().ok());
        count.is_some_and(|count| count > 1 && end == format!("-{count}"))
    };
    let is_beside = |what| end.strip_prefix(what).is_some_and(|rest| rest.is_empty() || is_further(rest));
    let is_known = end == ".json" || end == ".json.tmp" || is_beside(DAMAGED) || is_beside(UNDONE);
    is_known.then_some((seq, end))
}

/// What the name of a generation ends in that was set aside as damaged.
pub(crate) const DAMAGED: &str = ".json.damaged";

/// What the name of a generation ends in that a rollback undid.
pub(crate) const UNDONE: &str = ".json.undone";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_names_are_the_stores_own() {
        for own in [
            "snapshot.json",
            "snapshot.seq",
            "snapshot.sum",
            "snapshot.json.new",
            "snapshot.seq.new",
            "snapshot.sum.new",
            "snapshot.json.tmp",
            "snapshot.seq.tmp",
            "snapshot_00000000000000000007.json",
            "snapshot_18446744073709551615.json",
            "snapshot_00000000000000000007.json.tmp",
            "snapshot_00000000000000000007.json.damaged",
            "snapshot_00000000000000000007.json.damaged-2",
            "snapshot_00000000000000000007.json.undone",
            "snapshot_00000000000000000007.json.undone-10",
        ] {
            assert!(is_own(own), "{own}");
        }
        for other in [
            "",
            "notes.txt",
            "snapshot",
            "snapshot.json.gz",
            "Snapshot.json",
            "snapshot.sum.tmp",
            "snapshot_9.bak",
            "snapshot_1.json",
            "snapshot_00000000000000000007",
            "snapshot_00000000000000000007.msgpack",
            "snapshot_00000000000000000007.JSON",
            "snapshot_000000000000000000007.json",
            "snapshot_+0000000000000000007.json",
            "snapshot_18446744073709551616.json",
            "snapshot_00000000000000000007.json.damaged-1",
            "snapshot_00000000000000000007.json.damaged-02",
            "snapshot_00000000000000000007.json.damaged-+2",
            "snapshot_00000000000000000007.json.undone.gz",
            "aside.snapshot.json.tmp",
        ] {
            assert!(!is_own(other), "{other}");
        }
    }
}
