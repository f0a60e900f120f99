//! A network card, as its driver tells of it.

use std::{
    ffi::c_void,
    io,
    os::fd::{AsFd, BorrowedFd},
};

use rustix::{
    ioctl::{Opcode, Updater, ioctl},
    net::{AddressFamily, SocketType, socket},
};

/// `SIOCETHTOOL` of `linux/sockios.h`.
const SIOCETHTOOL: Opcode = 0x8946;
/// `ETHTOOL_GDRVINFO` and `ETHTOOL_GCHANNELS` of `linux/ethtool.h`.
const GET_DRIVER: u32 = 0x03;
const GET_CHANNELS: u32 = 0x3c;

/// What drives an interface, and by how many queues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// The driver's name, such as `virtio_net`.
    pub driver: String,
    /// Its queues that both send and receive; `None` where the driver has none such.
    pub queues: Option<Queues>,
}

/// Numbers of queues that both send and receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queues {
    /// In use. Those that a driver adds for an XDP program are among them.
    pub used: u32,
    /// The card's.
    pub most: u32,
}

/// Asks the driver of the interface of that name.
///
/// # Errors
///
/// When there is no such interface, or nothing drives it.
pub fn card(name: &str) -> io::Result<Card> {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    // `struct ethtool_drvinfo`: the driver's name is its first text, of 32 bytes.
    let mut driver = [0_u32; 49];
    driver[0] = GET_DRIVER;
    ask(socket.as_fd(), name, &mut driver)?;
    let bytes: Vec<u8> = driver[1..9]
        .iter()
        .flat_map(|word| word.to_ne_bytes())
        .take_while(|&byte| byte != 0)
        .collect();
    // `struct ethtool_channels`: the most of four kinds, then how many are in use.
    let mut channels = [0_u32; 9];
    channels[0] = GET_CHANNELS;
    let queues = ask(socket.as_fd(), name, &mut channels)
        .is_ok()
        .then_some(Queues {
            used: channels[8],
            most: channels[4],
        });
    Ok(Card {
        driver: String::from_utf8_lossy(&bytes).into_owned(),
        queues: queues.filter(|queues| queues.most > 0),
    })
}

/// `struct ifreq`, as `SIOCETHTOOL` reads it.
#[repr(C)]
struct Request {
    name: [u8; 16],
    data: *mut c_void,
    unused: [u8; 16],
}

/// Has the kernel fill in what the first word asks for.
fn ask<const WORDS: usize>(
    socket: BorrowedFd<'_>,
    interface: &str,
    words: &mut [u32; WORDS],
) -> io::Result<()> {
    let mut name = [0; 16];
    // The kernel wants a zero behind it.
    let Some(place) = name[..15].get_mut(..interface.len()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    place.copy_from_slice(interface.as_bytes());
    let mut request = Request {
        name,
        data: words.as_mut_ptr().cast(),
        unused: [0; 16],
    };
    // SAFETY: `Request` is laid out as SIOCETHTOOL reads and writes it, and its pointer
    // is to as many words as the command in the first of them writes.
    let request = unsafe { Updater::<SIOCETHTOOL, Request>::new(&mut request) };
    // SAFETY: as above.
    unsafe { ioctl(socket, request)? };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::testbed::Namespace;

    #[test]
    fn a_driver_tells_its_name() {
        let namespace = Namespace::new();
        namespace.ip("link add eth0 numtxqueues 3 numrxqueues 3 type veth peer name eth1");
        let card = namespace.enter(|| card("eth0")).expect("it is there");
        let wanted = Card {
            driver: "veth".to_owned(),
            // Its queues send or receive.
            queues: None,
        };
        assert_eq!(card, wanted);
    }

    #[test]
    fn an_interface_that_is_not_there_is_an_error() {
        for name in ["", "no-such-card", "a-name-that-is-too-long"] {
            assert!(card(name).is_err(), "{name}");
        }
    }
}
