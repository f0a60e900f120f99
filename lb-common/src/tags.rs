//! VLAN tags (IEEE 802.1Q) in one word, so that a frame's and a next hop's compare as
//! numbers.

/// Up to two VLAN tags: the outer one in the low half, the inner one in the high half;
/// each a VLAN identifier, [`Tags::PRESENT`], and [`Tags::SERVICE`] for an 802.1ad tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct Tags(pub u32);

/// Type of an 802.1Q tag.
pub const CUSTOMER_TAG: u16 = 0x8100;
/// Type of an 802.1ad service tag.
pub const SERVICE_TAG: u16 = 0x88a8;

impl Tags {
    /// No tag.
    pub const NONE: Tags = Tags(0);
    /// There is a tag.
    pub const PRESENT: u32 = 0x1000;
    /// It is a service tag (802.1ad).
    pub const SERVICE: u32 = 0x2000;
    /// The VLAN identifier.
    pub const ID: u32 = 0x0fff;

    /// These tags inside one more.
    #[must_use]
    #[inline(always)]
    pub const fn within(self, id: u16, is_service: bool) -> Self {
        let service = if is_service { Tags::SERVICE } else { 0 };
        Tags(self.0 << 16 | id as u32 & Tags::ID | Tags::PRESENT | service)
    }

    /// How many there are.
    #[must_use]
    #[inline(always)]
    pub const fn count(self) -> u32 {
        (self.0 >> 12 & 1) + (self.0 >> 28 & 1)
    }

    /// Type and identifier of the outer one, in host byte order, where there is one.
    #[must_use]
    #[inline(always)]
    pub const fn outer(self) -> Option<(u16, u16)> {
        Tags::half(self.0 & 0xffff)
    }

    /// Type and identifier of the inner one.
    #[must_use]
    #[inline(always)]
    pub const fn inner(self) -> Option<(u16, u16)> {
        Tags::half(self.0 >> 16)
    }

    #[inline(always)]
    const fn half(half: u32) -> Option<(u16, u16)> {
        if half & Tags::PRESENT == 0 {
            return None;
        }
        let kind = if half & Tags::SERVICE == 0 {
            CUSTOMER_TAG
        } else {
            SERVICE_TAG
        };
        Some((kind, (half & Tags::ID) as u16))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_told_outermost_first() {
        let inner = Tags::NONE.within(7, false);
        let both = inner.within(100, true);
        assert_eq!(Tags::NONE.outer(), None);
        assert_eq!((inner.outer(), inner.inner()), (Some((0x8100, 7)), None));
        assert_eq!(both.outer(), Some((0x88a8, 100)));
        assert_eq!(both.inner(), Some((0x8100, 7)));
        assert_eq!([Tags::NONE, inner, both].map(Tags::count), [0, 1, 2]);
    }
}
