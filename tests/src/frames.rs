//! Frames of any EtherType, sent and received as they are.

use std::{
    io,
    net::UdpSocket,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    time::Duration,
};

use anyhow::{Context, Result};
use rustix::net::{AddressFamily, SocketType, netdevice::name_to_index, socket};

use crate::link::End;

/// A packet socket on an interface.
#[derive(Debug)]
pub struct Frames(UdpSocket);

impl Frames {
    /// Opens one for frames of that EtherType; `patience` bounds each wait.
    pub fn open(end: End<'_>, ether_type: u16, patience: Duration) -> Result<Self> {
        let socket = end
            .host
            .run(|| packet_socket(end.device, ether_type))
            .with_context(|| format!("cannot open a packet socket on {}", end.device))?;
        let socket = UdpSocket::from(socket);
        socket.set_read_timeout(Some(patience))?;
        Ok(Self(socket))
    }

    /// Sends a frame, from its destination MAC address on.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.0.send(frame).map(drop)
    }

    /// Has [`Frames::next`] wait for nothing from now on: what has arrived is all there is.
    pub fn end(&self) -> io::Result<()> {
        self.0.set_nonblocking(true)
    }

    /// The next frame that arrives, from its destination MAC address on; `None` when
    /// there is none in time.
    pub fn next(&self) -> io::Result<Option<Vec<u8>>> {
        let mut buffer = vec![0; 65_536];
        match self.0.recv(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                Ok(Some(buffer))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn packet_socket(device: &str, ether_type: u16) -> Result<OwnedFd> {
    let probe = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    let index = name_to_index(&probe, device)?;
    let protocol = ether_type.to_be();
    // SAFETY: socket(2) takes no pointer.
    let opened = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW, protocol.into()) };
    if opened < 0 {
        return Err(io::Error::last_os_error().into());
    }
    // SAFETY: the kernel has just made this descriptor for us alone.
    let opened = unsafe { OwnedFd::from_raw_fd(opened) };
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol,
        sll_ifindex: i32::try_from(index)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: bind(2) reads a sockaddr_ll of the size that it is told; it outlives
    // the call.
    let bound = unsafe {
        libc::bind(
            opened.as_raw_fd(),
            (&raw const address).cast(),
            size_of_val(&address) as libc::socklen_t,
        )
    };
    if bound < 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(opened)
}
