//! VLAN devices: which tags a frame gets on its way down to the physical link.

use super::{Mac, NetState, NoHop};

/// How a VLAN tag is marked on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VlanProtocol {
    /// 802.1Q: the customer tag.
    Dot1q,
    /// 802.1ad: the service tag ("QinQ").
    Dot1ad,
}

impl VlanProtocol {
    /// The EtherType that announces the tag, in host byte order.
    pub fn ethertype(self) -> u16 {
        match self {
            Self::Dot1q => 0x8100,
            Self::Dot1ad => 0x88a8,
        }
    }
}

/// What makes a link a VLAN device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Vlan {
    /// The ifindex of the link that it is on; 0 when that is in another network
    /// namespace, where it can't be seen.
    pub parent: u32,
    /// The VLAN's number, 0–4095.
    pub id: u16,
    /// How its frames are tagged.
    pub protocol: VlanProtocol,
}

/// One tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VlanTag {
    /// The VLAN's number, 0–4095.
    pub id: u16,
    /// How it is marked.
    pub protocol: VlanProtocol,
}

/// The tags of a frame: none, one or two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct VlanTags {
    outer: Option<VlanTag>,
    inner: Option<VlanTag>,
}

impl VlanTags {
    /// With one more tag around those that are there; `None` when there are two.
    #[must_use]
    pub fn around(self, outer: VlanTag) -> Option<Self> {
        match self.inner {
            None => Some(Self {
                outer: Some(outer),
                inner: self.outer,
            }),
            Some(_) => None,
        }
    }

    /// The tags as they lie on the wire, the outermost first.
    pub fn iter(self) -> impl Iterator<Item = VlanTag> {
        self.outer.into_iter().chain(self.inner)
    }

    /// How many there are, 0–2.
    pub fn len(self) -> usize {
        self.iter().count()
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.outer.is_none()
    }
}

/// What lies under a link: what a frame that the kernel sends by it looks like where
/// it leaves the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LinkPath {
    /// The ifindex of the lowest link; the link's own unless it is a VLAN device.
    pub port: u32,
    /// The tags that the frame has there.
    pub vlans: VlanTags,
    /// The MAC of the link itself, from which it speaks.
    pub mac: Mac,
    /// The largest IP packet, in bytes, that all links of the path carry.
    pub mtu: u32,
}

impl NetState {
    /// The way down from a link, through VLAN devices, to the one that has the wire.
    ///
    /// # Errors
    /// [`NoHop`] when one of them is gone, down, without carrier or MAC, or when there
    /// would be more than two tags.
    pub fn link_path(&self, ifindex: u32) -> Result<LinkPath, NoHop> {
        let top = self.usable_link(ifindex)?;
        let no_mac = || NoHop::NoMac {
            link: top.name.clone(),
        };
        let mut path = LinkPath {
            port: ifindex,
            vlans: VlanTags::default(),
            mac: top.mac.ok_or_else(no_mac)?,
            mtu: top.mtu,
        };
        let mut link = top;
        while let Some(Vlan {
            parent,
            id,
            protocol,
        }) = link.vlan
        {
            let tagged = path.vlans.around(VlanTag { id, protocol });
            path.vlans = tagged.ok_or_else(|| NoHop::TooManyVlans {
                link: top.name.clone(),
            })?;
            if self.link(parent).is_none() {
                return Err(NoHop::NoParent {
                    link: link.name.clone(),
                });
            }
            link = self.usable_link(parent)?;
            path.port = parent;
            path.mtu = path.mtu.min(link.mtu);
        }
        Ok(path)
    }
}
