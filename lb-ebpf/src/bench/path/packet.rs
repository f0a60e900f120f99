//! Frames here: less than the product's, which nobody links without all of its maps.

use core::ptr;

use aya_ebpf::programs::XdpContext;

/// A frame.
pub struct Packet {
    start: usize,
    end: usize,
}

/// `LEN` bytes of a frame, known to be there.
#[derive(Clone, Copy)]
pub struct Window<const LEN: usize>(*mut u8);

impl Packet {
    /// The one that the program was called for.
    #[inline(always)]
    pub fn of(context: &XdpContext) -> Self {
        Packet {
            start: context.data(),
            end: context.data_end(),
        }
    }

    /// Its first `LEN` bytes, or `None` when it is shorter.
    #[inline(always)]
    pub fn window<const LEN: usize>(&self) -> Option<Window<LEN>> {
        if self.start + LEN > self.end {
            return None;
        }
        Some(Window(self.start as *mut u8))
    }
}

impl<const LEN: usize> Window<LEN> {
    /// The word at byte `AT`.
    #[inline(always)]
    pub fn load<T: Copy, const AT: usize>(self) -> T {
        const { assert!(AT + size_of::<T>() <= LEN) };
        // SAFETY: whoever made the window has compared LEN with the frame's end, and the
        // verifier has seen it; kernels that JIT XDP take a load at any address.
        unsafe { ptr::read_volatile(self.0.add(AT).cast::<T>()) }
    }

    /// Writes the word at byte `AT`.
    #[inline(always)]
    pub fn store<T: Copy, const AT: usize>(self, value: T) {
        const { assert!(AT + size_of::<T>() <= LEN) };
        // SAFETY: as for `load`; XDP may write to a frame's linear part.
        unsafe { ptr::write_volatile(self.0.add(AT).cast::<T>(), value) }
    }
}
