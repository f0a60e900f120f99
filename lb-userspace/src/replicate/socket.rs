//! The way to the peer: a UDP socket that hears nobody else.

use std::{
    io::{self, ErrorKind},
    net::{SocketAddr, UdpSocket},
    os::fd::{AsFd, BorrowedFd},
};

use rustix::net::sockopt::{
    set_socket_recv_buffer_size, set_socket_recv_buffer_size_force, set_socket_send_buffer_size,
    set_socket_send_buffer_size_force,
};

use super::seal::MOST;

/// Bytes of the kernel's buffers: a third of a second of the greatest rate, so that a thread that
/// doesn't run for a moment loses nothing.
const KERNEL: usize = 4 << 20;
/// Longer than any datagram may be, so that one that is too long shows.
const LONGEST: usize = MOST + 1;

/// A socket with one peer.
pub(super) struct Socket {
    udp: UdpSocket,
    peer: SocketAddr,
    is_connected: bool,
    buffer: [u8; LONGEST],
}

impl Socket {
    /// Takes the address. Nothing is received before [`Socket::connect`] has succeeded.
    pub(super) fn bind(listen: SocketAddr, peer: SocketAddr) -> io::Result<Self> {
        let udp = UdpSocket::bind(listen)?;
        udp.set_nonblocking(true)?;
        // Beyond what everybody may have, if we may; smaller buffers do as well, mostly.
        let _ = set_socket_recv_buffer_size_force(&udp, KERNEL)
            .or_else(|_| set_socket_recv_buffer_size(&udp, KERNEL));
        let _ = set_socket_send_buffer_size_force(&udp, KERNEL)
            .or_else(|_| set_socket_send_buffer_size(&udp, KERNEL));
        Ok(Socket {
            udp,
            peer,
            is_connected: false,
            buffer: [0; LONGEST],
        })
    }

    /// From now on the kernel lets nothing through but what comes from the peer's address. Fails while there is
    /// no route to it; true once it has succeeded.
    pub(super) fn connect(&mut self) -> io::Result<()> {
        if !self.is_connected {
            self.udp.connect(self.peer)?;
            self.is_connected = true;
            // What came before may be anybody's.
            self.drain();
        }
        Ok(())
    }

    /// Throws away what has been received.
    pub(super) fn drain(&mut self) {
        // As many as fit the kernel's buffer, in case they come faster than they go.
        for _ in 0..KERNEL / 256 {
            if matches!(self.receive(), Err(error) if error.kind() == ErrorKind::WouldBlock) {
                return;
            }
        }
    }

    /// The next datagram. One that is too long is cut, and still too long.
    pub(super) fn receive(&mut self) -> io::Result<&[u8]> {
        let length = self.udp.recv(&mut self.buffer)?;
        Ok(&self.buffer[..length])
    }

    /// Sends a datagram.
    pub(super) fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        match self.udp.send(datagram) {
            // An earlier one found nobody there, and this one hasn't been sent yet.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => self.udp.send(datagram),
            result => result,
        }
        .map(|_| ())
    }

    /// To wait for datagrams; `None` while there can't be any.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.is_connected.then(|| self.udp.as_fd())
    }
}
