//! How much memory a component may have.

use wasmtime::ResourceLimiter;

/// A limit in bytes on all memories and tables of a component together.
///
/// It belongs into the data of the component's `wasmtime::Store`, as `Store::limiter` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryLimit {
    left: usize,
}

impl MemoryLimit {
    /// A limit of so many bytes.
    pub fn new(bytes: u64) -> Self {
        MemoryLimit { left: usize::try_from(bytes).unwrap_or(usize::MAX) }
    }

    fn take(&mut self, bytes: usize) -> bool {
        let left = self.left.checked_sub(bytes);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.take(desired.saturating_sub(current)))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // An element is a pointer.
        Ok(self.take(desired.saturating_sub(current).saturating_mul(size_of::<usize>())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_and_tables_share_one_limit() {
        let mut limit = MemoryLimit::new(100);
        assert!(limit.memory_growing(0, 40, None).unwrap());
        assert!(!limit.memory_growing(0, 61, None).unwrap(), "a second memory");
        assert!(!limit.table_growing(0, usize::MAX, None).unwrap());
        assert!(limit.table_growing(1, 3, None).unwrap());
        assert!(limit.memory_growing(40, 100 - 2 * size_of::<usize>(), None).unwrap());
        assert!(!limit.memory_growing(100, 101, None).unwrap());
    }
}
