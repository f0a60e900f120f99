//! The only pointer arithmetic on packets.
//!
//! A bounds check gives a [`Window`]; reads and writes inside it are checked when
//! this is compiled.

use core::ptr;

use aya_ebpf::programs::XdpContext;

/// A received frame.
#[derive(Clone, Copy)]
pub struct Packet {
    start: usize,
    end: usize,
}

/// The first `LEN` bytes of a frame, known to be there.
#[derive(Clone, Copy)]
pub struct Window<const LEN: usize>(*mut u8);

/// A whole number that packets are read and written by.
pub trait Word: Copy {}
impl Word for u8 {}
impl Word for u16 {}
impl Word for u32 {}
impl Word for u64 {}

impl Packet {
    /// The frame that the program was called for.
    #[inline(always)]
    #[must_use]
    pub fn of(context: &XdpContext) -> Self {
        Packet {
            start: context.data(),
            end: context.data_end(),
        }
    }

    /// Its length in bytes, without the frame check sequence.
    #[inline(always)]
    #[must_use]
    pub fn length(&self) -> usize {
        self.end - self.start
    }

    /// Its first `LEN` bytes, or `None` when it is shorter.
    #[inline(always)]
    #[must_use]
    pub fn window<const LEN: usize>(&self) -> Option<Window<LEN>> {
        if self.start + LEN > self.end {
            return None;
        }
        Some(Window(self.start as *mut u8))
    }
}

impl<const LEN: usize> Window<LEN> {
    /// The word at byte `AT`, in the packet's byte order.
    #[inline(always)]
    #[must_use]
    pub fn load<T: Word, const AT: usize>(self) -> T {
        const { assert!(AT + size_of::<T>() <= LEN) };
        // SAFETY: `Packet::window` has compared LEN with the frame's end, and the
        // verifier has seen it. Volatile keeps it one load, which kernels with
        // efficient unaligned access (all that JIT XDP for x86-64 and arm64) take
        // at any address.
        unsafe { ptr::read_volatile(self.0.add(AT).cast::<T>()) }
    }

    /// Writes the word at byte `AT`, in the packet's byte order.
    #[inline(always)]
    pub fn store<T: Word, const AT: usize>(self, value: T) {
        const { assert!(AT + size_of::<T>() <= LEN) };
        // SAFETY: as for `load`; XDP may write to a frame's linear part.
        unsafe { ptr::write_volatile(self.0.add(AT).cast::<T>(), value) }
    }

    /// The first `LESS` bytes of it.
    #[inline(always)]
    #[must_use]
    pub fn narrow<const LESS: usize>(self) -> Window<LESS> {
        const { assert!(LESS <= LEN) };
        Window(self.0)
    }
}
