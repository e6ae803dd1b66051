//! The verbs, a file each.

pub mod clear;
pub mod completions;
pub mod component;
pub mod copy;
pub mod create;
pub mod grants;
pub mod info;
pub mod list;
pub mod man;
pub mod remote;
pub mod restore;
pub mod rollback;
pub mod run;
pub mod settle;
pub mod status;
pub mod verify;
pub mod wit;
