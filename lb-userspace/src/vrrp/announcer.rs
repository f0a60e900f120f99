//! Announces addresses on their links.

use std::{
    io,
    mem::size_of,
    net::IpAddr,
    os::fd::{AsRawFd, OwnedFd},
};

use nix::{
    libc,
    sys::socket::{
        AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, SockaddrLike, bind, send, socket,
    },
};

use super::announce_frame::Frame;

/// A packet socket that sends on any link. It receives nothing. There is one, for as long as
/// the thread runs: closing such a socket may take the kernel long.
#[derive(Debug)]
pub struct Announcer(OwnedFd);

impl Announcer {
    /// # Errors
    /// The kernel's: without `CAP_NET_RAW` there is none.
    pub fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        Ok(Self(socket(
            AddressFamily::Packet,
            SockType::Raw,
            flags,
            None,
        )?))
    }

    /// Tells the link that `address` is there, at the link's MAC of this moment.
    ///
    /// # Errors
    /// The kernel's; the link may be gone, or be none with MACs.
    pub fn announce(&self, address: IpAddr, ifindex: u32) -> io::Result<()> {
        let fd = self.0.as_raw_fd();
        bind(fd, &on_link(ifindex)?)?;
        let frame = Frame::new(address, self.mac()?);
        send(fd, frame.bytes(), MsgFlags::MSG_DONTWAIT)?;
        Ok(())
    }

    /// That of the link that the socket is bound to: it stands in the socket's name.
    fn mac(&self) -> io::Result<[u8; 6]> {
        let mut name = name_of(0);
        let mut length = LENGTH;
        let fd = self.0.as_raw_fd();
        // SAFETY: `name` has room for `length` bytes, and may hold any.
        let failed = unsafe { libc::getsockname(fd, (&raw mut name).cast(), &raw mut length) };
        if failed != 0 {
            return Err(io::Error::last_os_error());
        }
        let mac = name.sll_addr.first_chunk().filter(|_| name.sll_halen == 6);
        Ok(*mac.ok_or(io::ErrorKind::Unsupported)?)
    }
}

const LENGTH: libc::socklen_t = size_of::<libc::sockaddr_ll>() as libc::socklen_t;

fn on_link(ifindex: u32) -> io::Result<LinkAddr> {
    let ifindex = i32::try_from(ifindex).map_err(|_| io::ErrorKind::NotFound)?;
    let name = name_of(ifindex);
    // SAFETY: `name` is a whole sockaddr_ll of the family that says so, of that length.
    let address = unsafe { LinkAddr::from_raw((&raw const name).cast(), Some(LENGTH)) };
    Ok(address.expect("family and length are right"))
}

/// The link, and no protocol: nothing is received.
fn name_of(ifindex: i32) -> libc::sockaddr_ll {
    libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: 0,
        sll_ifindex: ifindex,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    }
}
