//! Sixteen bytes of a text at once: which of them are of a kind, as a bit each, the first byte's the lowest.

/// How many bytes a block has.
pub(crate) const SIZE: usize = 16;

#[derive(Clone, Copy)]
pub(crate) struct Block([u8; SIZE]);

impl Block {
    #[inline(always)]
    pub(crate) fn load(bytes: &[u8], at: usize) -> Option<Self> {
        bytes.get(at..)?.first_chunk().map(|&bytes| Block(bytes))
    }

    #[inline(always)]
    pub(crate) fn store(self, bytes: &mut [u8], at: usize) -> bool {
        let room = bytes.get_mut(at..).and_then(|room| room.first_chunk_mut());
        room.map(|room| *room = self.0).is_some()
    }
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod vector {
    use core::arch::wasm32::{u8x16_bitmask, u8x16_eq, u8x16_le, u8x16_splat, u8x16_sub, v128, v128_or};

    use super::Block;

    impl Block {
        #[inline(always)]
        #[expect(unsafe_code, reason = "any sixteen bytes are a vector")]
        fn vector(self) -> v128 {
            // SAFETY: both have sixteen bytes, and each is any bytes.
            unsafe { core::mem::transmute(self.0) }
        }

        #[inline(always)]
        fn equal(self, byte: u8) -> v128 {
            u8x16_eq(self.vector(), u8x16_splat(byte))
        }

        #[inline(always)]
        pub(crate) fn special(self) -> u32 {
            let control = u8x16_le(self.vector(), u8x16_splat(0x1F));
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
            mask(u8x16_le(u8x16_sub(self.vector(), u8x16_splat(b'0')), u8x16_splat(9)))
        }
    }

    #[inline(always)]
    fn mask(lanes: v128) -> u32 {
        u32::from(u8x16_bitmask(lanes))
    }
}

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
impl Block {
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
