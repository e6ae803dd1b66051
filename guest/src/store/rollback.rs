//! Going back to an older generation.

use super::Store;
use super::writer::Alone;
use crate::body::State;
use crate::catalog::Layout;
use crate::commit;
use crate::dir::Dir;
use crate::error::{Error, Result};
use crate::numbered::{self, Condition, Generation};

impl<D: Dir> Store<D> {
    /// Makes the generation `seq` the newest one, durably. Those above it are kept under other names, and count for nothing;
    /// returns their numbers, newest first. [`Busy`](Error::Busy) while there is a [`Writer`](super::Writer).
    pub fn rollback(&self, seq: u64) -> Result<Vec<u64>> {
        let _alone = Alone::new(&self.shared)?;
        // What is done by hand comes first.
        self.forget();
        let contents = self.settle()?;
        if let Some(Layout::Pair) = contents.layout()? {
            return Err(Error::Io(
                "it holds one snapshot, and no older one to go back to: to give it a lower number, restore it, and create it \
                 again in an empty directory"
                    .to_owned(),
            ));
        }
        contents.check_named()?;
        // Nothing is undone for one that cannot be restored.
        match numbered::read(&self.dir, seq, State::Sum)? {
            Generation::Sound(_) => {}
            Generation::Damaged(problem, _) => {
                return Err(Error::Corrupt(format!("{problem}: go back to another generation")));
            }
            Generation::Unreadable(error) => return Err(error),
            Generation::Gone => return Err(Error::NotFound),
        }
        let mut undone = contents.generations;
        undone.truncate(undone.partition_point(|&generation| generation > seq));
        if undone.is_empty() {
            return Ok(undone);
        }
        let mut last = None;
        for &generation in &undone {
            if let Condition::Sound | Condition::Unreadable(_) =
                self.shared.known.check_anew(&self.dir, generation)?
            {
                last = Some(generation);
                break;
            }
        }
        self.shared.durable.set(false);
        commit::undo(&self.dir, &undone, last)?;
        self.shared.durable.set(true);
        Ok(undone)
    }
}
