//! Sixteen bytes of a text at once: which of them are of a kind, as a bit each, the first byte's the lowest.

/// How many bytes a block has.
pub(crate) const SIZE: usize = 16;

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod vector {
    #![expect(unsafe_code, reason = "vectors are loaded and stored through pointers")]

    use core::arch::wasm32::{
        u8x16_bitmask, u8x16_eq, u8x16_le, u8x16_splat, u8x16_sub, v128, v128_load, v128_or, v128_store,
    };

    use super::SIZE;

    #[derive(Clone, Copy)]
    pub(crate) struct Block(v128);

    impl Block {
        #[inline(always)]
        pub(crate) fn load(bytes: &[u8], at: usize) -> Option<Self> {
            let is_there = bytes.len() >= SIZE && at <= bytes.len() - SIZE;
            // SAFETY: there are sixteen bytes from `at` on, and a load may be unaligned.
            is_there.then(|| Block(unsafe { v128_load(bytes.as_ptr().add(at).cast()) }))
        }

        #[inline(always)]
        pub(crate) fn store(self, bytes: &mut [u8], at: usize) -> bool {
            let is_there = bytes.len() >= SIZE && at <= bytes.len() - SIZE;
            if is_there {
                // SAFETY: there are sixteen bytes from `at` on, and a store may be unaligned.
                unsafe { v128_store(bytes.as_mut_ptr().add(at).cast(), self.0) }
            }
            is_there
        }

        #[inline(always)]
        fn equal(self, byte: u8) -> v128 {
            u8x16_eq(self.0, u8x16_splat(byte))
        }

        #[inline(always)]
        pub(crate) fn special(self) -> u32 {
            let control = u8x16_le(self.0, u8x16_splat(0x1F));
            mask(v128_or(control, v128_or(self.equal(b'"'), self.equal(b'\\'))))
        }

        #[inline(always)]
        pub(crate) fn white(self) -> u32 {
            let blank = v128_or(self.equal(b' '), self.equal(b'\t'));
            mask(v128_or(blank, v128_or(self.equal(b'\n'), self.equal(b'\r'))))
        }

        #[inline(always)]
        pub(crate) fn line_breaks(self) -> u32 {
            mask(self.equal(b'\n'))
        }

        #[inline(always)]
        pub(crate) fn digits(self) -> u32 {
            mask(u8x16_le(u8x16_sub(self.0, u8x16_splat(b'0')), u8x16_splat(9)))
        }
    }

    #[inline(always)]
    fn mask(lanes: v128) -> u32 {
        u32::from(u8x16_bitmask(lanes))
    }
}

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
mod portable {
    use super::SIZE;

    #[derive(Clone, Copy)]
    pub(crate) struct Block([u8; SIZE]);

    impl Block {
        pub(crate) fn load(bytes: &[u8], at: usize) -> Option<Self> {
            bytes.get(at..)?.first_chunk().map(|&bytes| Block(bytes))
        }

        pub(crate) fn store(self, bytes: &mut [u8], at: usize) -> bool {
            let room = bytes.get_mut(at..).and_then(|room| room.first_chunk_mut());
            room.map(|room| *room = self.0).is_some()
        }

        pub(crate) fn special(self) -> u32 {
            self.mask(|byte| byte == b'"' || byte == b'\\' || byte < 0x20)
        }

        pub(crate) fn white(self) -> u32 {
            self.mask(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
        }

        pub(crate) fn line_breaks(self) -> u32 {
            self.mask(|byte| byte == b'\n')
        }

        pub(crate) fn digits(self) -> u32 {
            self.mask(|byte| byte.is_ascii_digit())
        }

        fn mask(self, is: impl Fn(u8) -> bool) -> u32 {
            self.0.iter().rev().fold(0, |mask, &byte| mask << 1 | u32::from(is(byte)))
        }
    }
}

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
pub(crate) use portable::Block;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub(crate) use vector::Block;
