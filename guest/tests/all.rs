//! The tests of the store, natively: of its own logic, on a directory that fails, and on a model of a disk.

mod commit;
mod concurrent;
mod damaged_generations;
mod damaged_pair;
mod entries;
mod generation_names;
mod generations;
mod insert;
mod json;
mod model;
mod named;
mod native_pair;
mod numbered_commit;
mod numbered_syncs;
mod pairs;
mod power_cut;
mod pruning;
mod read;
mod remembered;
mod rollback;
mod scenarios;
mod seam;
mod set_aside;
mod settling;
