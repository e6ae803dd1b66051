//! Where in a text the formatter is.

use super::MAX_DEPTH;
use super::token::Token;

/// What the next byte may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// A value.
    Value,
    /// A value or `]`, just after `[`.
    FirstElement,
    /// A name or `}`, just after `{`.
    FirstName,
    /// A name, after a comma in an object.
    Name,
    /// `:`, after a name.
    Colon,
    /// `,` or the closing bracket, or nothing more after the outermost value.
    AfterValue,
    /// Inside a token; everything is copied until it ends.
    Token(Token),
}

/// The open arrays and objects, outermost first. Its size is fixed, so no input can make it grow.
pub(super) struct Containers {
    /// Whether the container at each depth is an object; depth 0 is outside of all.
    pub(super) objects: [bool; MAX_DEPTH + 1],
    pub(super) depth: usize,
}

/// A depth masked by `MAX_DEPTH` stays the same, and spares a check of bounds.
const _: () = assert!((MAX_DEPTH + 1).is_power_of_two());

impl Containers {
    pub(super) fn push(&mut self, object: bool) {
        self.depth += 1;
        self.objects[self.depth & MAX_DEPTH] = object;
    }

    pub(super) fn pop(&mut self) {
        self.depth -= 1;
    }

    pub(super) fn in_object(&self) -> bool {
        self.objects[self.depth & MAX_DEPTH]
    }

    pub(super) fn in_array(&self) -> bool {
        self.depth > 0 && !self.in_object()
    }
}
