//! What stands beside `[component]`: tables of other tools, and no part of a manifest, which nobody would read there.

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::written::{CAPABILITIES, KEYS};
use crate::diagnostic::{Diagnostic, Result, Source};
use crate::spelling::{is_same, nearest};

/// The table of a manifest that is not flat.
pub(super) const COMPONENT: &str = "component";

/// What limits a component: wherever else one of these stands, it is taken for a limit that would not hold.
const LIMITS: [(&str, &str); 3] = [
    ("capabilities", "component.capabilities"),
    ("memory_max", "component.capabilities.resources.memory_max"),
    ("requires_tee", "component.capabilities.security.requires_tee"),
];

type Key<'t> = Spanned<DeString<'t>>;

/// Refuses what is, or may be meant to be, a part of the manifest and stands beside its table in `file`.
pub(super) fn check(source: &Source<'_>, file: &DeTable<'_>) -> Result<()> {
    for (key, value) in file.iter().filter(|(key, _)| key.get_ref() != COMPONENT) {
        if nearest(key.get_ref(), [COMPONENT]).is_some() {
            return Err(misspelt(source, key));
        }
        if let Some(part) = nearest(key.get_ref(), KEYS.iter().chain(CAPABILITIES).copied()) {
            let table = if KEYS.contains(&part) { "component" } else { "component.capabilities" };
            return Err(outside(source, key, &format!("{table}.{part}")));
        }
        if !value.get_ref().is_table() {
            return Err(Diagnostic::new(
                source.place(&key.span()),
                format!("`{}` is outside of the table `[component]`", key.get_ref()),
                "only tables of other tools may stand there: write it below `[component]`, or remove it",
            ));
        }
        check_inside(source, value.get_ref())?;
    }
    Ok(())
}

/// Refuses `[component]` under another name, which would be taken for a key of a flat manifest.
pub(super) fn check_flat(source: &Source<'_>, file: &DeTable<'_>) -> Result<()> {
    let is_misspelt = |key: &&Key<'_>| nearest(key.get_ref(), [COMPONENT]).is_some();
    file.keys().find(is_misspelt).map_or(Ok(()), |key| Err(misspelt(source, key)))
}

/// Looks for limits in a table of another tool.
fn check_inside(source: &Source<'_>, value: &DeValue<'_>) -> Result<()> {
    match value {
        DeValue::Table(table) => table.iter().try_for_each(|(key, value)| {
            match LIMITS.into_iter().find(|(limit, _)| is_same(limit, key.get_ref())) {
                Some((_, path)) => Err(outside(source, key, path)),
                None => check_inside(source, value.get_ref()),
            }
        }),
        DeValue::Array(values) => values.iter().try_for_each(|value| check_inside(source, value.get_ref())),
        _ => Ok(()),
    }
}

fn misspelt(source: &Source<'_>, key: &Key<'_>) -> Diagnostic {
    Diagnostic::new(
        source.place(&key.span()),
        format!("unknown table `{}`", key.get_ref()),
        "write `component`: only tables of other tools may stand beside it",
    )
}

fn outside(source: &Source<'_>, key: &Key<'_>, path: &str) -> Diagnostic {
    Diagnostic::new(
        source.place(&key.span()),
        format!("`{}` is outside of the table `[component]`", key.get_ref()),
        format!("write it as `{path}`, or rename it if it belongs to another tool"),
    )
}
