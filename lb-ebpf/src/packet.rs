//! The only pointer arithmetic on packets.
//!
//! A bounds check gives a [`Window`]; reads and writes inside it are checked when
//! this is compiled.

use core::ptr;

use aya_ebpf::{
    bindings::xdp_md,
    helpers::generated::{
        bpf_csum_diff, bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len,
    },
};

use crate::node;

/// Beyond this no header is looked for: a power of two, less one.
pub const MAX_OFFSET: usize = 0xfff;

/// What the kernel calls the program with.
pub type Context = *mut xdp_md;

/// A received frame.
#[derive(Clone, Copy)]
pub struct Packet {
    context: Context,
    start: usize,
    end: usize,
    length: usize,
}

/// `LEN` bytes of a frame, known to be there.
#[derive(Clone, Copy)]
pub struct Window<const LEN: usize>(*mut u8);

/// A whole number that packets are read and written by.
pub trait Word: Copy {}
impl Word for u8 {}
impl Word for u16 {}
impl Word for u32 {}
impl Word for u64 {}

impl Packet {
    /// The frame that the program was called for, as it is now. Where frames may lie in
    /// several buffers, only their beginning is sure to be in the first one.
    #[inline(always)]
    #[must_use]
    #[allow(
        clippy::not_unsafe_ptr_arg_deref,
        reason = "there is no other context than the kernel's"
    )]
    pub fn of(context: Context) -> Self {
        // Asked first: no register must outlast a call that a program for one buffer doesn't
        // make.
        // SAFETY: the context is this call's own.
        let whole = node::has_buffers().then(|| unsafe { bpf_xdp_get_buff_len(context) as usize });
        let (start, end) = bounds(context);
        let length = whole.unwrap_or(end - start);
        Packet {
            context,
            start,
            end,
            length,
        }
    }

    /// What steps that aren't inlined are given to find the frame by.
    #[inline(always)]
    #[must_use]
    pub fn context(&self) -> Context {
        self.context
    }

    /// Its length in bytes, without the frame check sequence.
    #[inline(always)]
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
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

    /// `LEN` bytes from byte `offset` on, or `None` when they aren't all there.
    #[inline(always)]
    #[must_use]
    pub fn at<const LEN: usize>(&self, offset: usize) -> Option<Window<LEN>> {
        let start = if is_constant(offset) {
            self.start + offset
        } else {
            // The mask bounds the offset for the verifier; no caller goes beyond it.
            opaque((self.start + (offset & MAX_OFFSET)) as u64) as usize
        };
        if start + LEN > self.end {
            return None;
        }
        Some(Window(start as *mut u8))
    }

    /// The frame with `bytes` more at its head, or fewer when negative. What was at the
    /// head before stays where it was; what is new there is undefined. `None` when there
    /// is no room. No window of the frame before may be used any more.
    #[inline(always)]
    #[must_use]
    pub fn with_head(&self, bytes: i32) -> Option<Packet> {
        // SAFETY: the context is this call's own; the helper checks the room.
        if unsafe { bpf_xdp_adjust_head(self.context, -bytes) } != 0 {
            return None;
        }
        let (start, end) = bounds(self.context);
        Some(Packet {
            start,
            end,
            length: self.length.wrapping_add_signed(bytes as isize),
            ..*self
        })
    }

    /// The frame with `bytes` more at its tail, or fewer when negative; otherwise as for
    /// [`Packet::with_head`].
    #[inline(always)]
    #[must_use]
    pub fn with_tail(&self, bytes: i32) -> Option<Packet> {
        // SAFETY: the context is this call's own; the helper checks the room.
        if unsafe { bpf_xdp_adjust_tail(self.context, bytes) } != 0 {
            return None;
        }
        Some(Packet::of(self.context))
    }
}

impl<const LEN: usize> Window<LEN> {
    /// The word at byte `AT`, in the packet's byte order.
    #[inline(always)]
    #[must_use]
    pub fn load<T: Word, const AT: usize>(self) -> T {
        const { assert!(AT + size_of::<T>() <= LEN) };
        // Volatile keeps it one load, which kernels with efficient unaligned access (all
        // that JIT XDP for x86-64 and arm64) take at any address.
        // SAFETY: whoever made the window has compared LEN with the frame's end, and
        // the verifier has seen it.
        unsafe { ptr::read_volatile(self.0.add(AT).cast::<T>()) }
    }

    /// The word at byte `AT`, in the packet's byte order: read only if it is used.
    #[inline(always)]
    #[must_use]
    pub fn peek<T: Word, const AT: usize>(self) -> T {
        const { assert!(AT + size_of::<T>() <= LEN) };
        // SAFETY: as for `load`.
        unsafe { self.0.add(AT).cast::<T>().read() }
    }

    /// Writes the word at byte `AT`, in the packet's byte order.
    #[inline(always)]
    pub fn store<T: Word, const AT: usize>(self, value: T) {
        const { assert!(AT + size_of::<T>() <= LEN) };
        // SAFETY: as for `load`; XDP may write to a frame's linear part.
        unsafe { ptr::write_volatile(self.0.add(AT).cast::<T>(), value) }
    }

    /// The two words of eight bytes at byte `AT`, in the packet's byte order.
    #[inline(always)]
    #[must_use]
    pub fn load_pair<const AT: usize>(self) -> (u64, u64) {
        const { assert!(AT + 16 <= LEN) };
        // SAFETY: as for `load`.
        unsafe {
            let words = self.0.add(AT).cast::<u64>();
            (ptr::read_volatile(words), ptr::read_volatile(words.add(1)))
        }
    }

    /// Writes the two words of eight bytes at byte `AT`, in the packet's byte order.
    #[inline(always)]
    pub fn store_pair<const AT: usize>(self, (first, second): (u64, u64)) {
        const { assert!(AT + 16 <= LEN) };
        // SAFETY: as for `store`.
        unsafe {
            let words = self.0.add(AT).cast::<u64>();
            ptr::write_volatile(words, first);
            ptr::write_volatile(words.add(1), second);
        }
    }

    /// The `LESS` bytes of it from byte `FROM` on.
    #[inline(always)]
    #[must_use]
    pub fn rest<const FROM: usize, const LESS: usize>(self) -> Window<LESS> {
        const { assert!(FROM + LESS <= LEN) };
        // SAFETY: inside the window, as has just been asserted.
        Window(unsafe { self.0.add(FROM) })
    }

    /// The same bytes, of which the compiler doesn't know that they have been read: what is read
    /// again isn't kept on the stack meanwhile.
    #[inline(always)]
    #[must_use]
    pub fn again(self) -> Self {
        Window(opaque(self.0 as u64) as *mut u8)
    }

    /// The first `LESS` bytes of it.
    #[inline(always)]
    #[must_use]
    pub fn narrow<const LESS: usize>(self) -> Window<LESS> {
        const { assert!(LESS <= LEN) };
        Window(self.0)
    }

    /// The one's complement sum of `COUNT` bytes from `AT` on, added to `sum`: not folded,
    /// in the packet's byte order.
    #[inline(always)]
    #[must_use]
    pub fn sum<const AT: usize, const COUNT: usize>(self, sum: u32) -> u32 {
        const { assert!(AT + COUNT <= LEN) };
        const {
            assert!(
                COUNT.is_multiple_of(4) && COUNT <= 512,
                "the helper's limits"
            )
        };
        // SAFETY: the bytes are inside the window, and the helper reads no others.
        let sum =
            unsafe { bpf_csum_diff(ptr::null_mut(), 0, self.0.add(AT).cast(), COUNT as u32, sum) };
        sum as u32
    }
}

/// Where the frame's first buffer begins and ends.
#[inline(always)]
fn bounds(context: Context) -> (usize, usize) {
    // SAFETY: the context is the kernel's for this call.
    unsafe { ((*context).data as usize, (*context).data_end as usize) }
}

/// By how many bytes a length grows from `before` to `after`.
#[inline(always)]
#[must_use]
pub fn growth(before: usize, after: usize) -> i32 {
    after.wrapping_sub(before).cast_signed() as i32
}

/// Whether the compiler knows which number this is.
#[inline(always)]
fn is_constant(number: usize) -> bool {
    #[cfg(target_arch = "bpf")]
    return core::intrinsics::is_val_statically_known(number);
    #[cfg(not(target_arch = "bpf"))]
    {
        let _ = number;
        false
    }
}

/// The same address or number, of which the compiler doesn't know where it came from, and
/// which it works out here and nowhere else. (An address it must not compute again where it
/// is used, for the verifier would take that for another pointer, one that was never
/// compared with the frame's end.)
#[inline(always)]
#[must_use]
pub fn opaque(number: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut number = number;
        // SAFETY: a move to itself. (Without any instruction two lines would have one place,
        // which the kernel refuses.)
        unsafe { core::arch::asm!("{0} = {0}", inout(reg) number, options(nomem, nostack)) };
        number
    }
    #[cfg(not(target_arch = "bpf"))]
    number
}
