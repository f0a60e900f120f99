//! The frames that are sent, and what of them has to arrive: UDP.

use std::net::IpAddr;

use crate::{
    addresses::{
        CLIENT_PORT, FRONT_MAC, Family, GEN_MAC, POOL, SERVER_PORT, SERVERS, TUNNELS, VIP_PORT,
        Wiring,
    },
    records::{Clients, Expected, Stream, WORDS},
};

/// What is written and compared of a frame.
const LENGTH: usize = WORDS * 8;
const ETHERNET: usize = 14;
const UDP: u8 = 17;
const IPIP: u8 = 4;
const TTL: u8 = 64;

/// What becomes of a packet on its way to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// It still is for the VIP.
    Vip,
    /// Destination and port are a server's.
    Server,
    /// The same, and the source is the pool's.
    Pool,
    /// It is in an IPv4 packet to a server.
    Tunnel,
}

/// How long frames are, in bytes, without the frame check sequence. All behind what is written is 0.
/// Those of IPv6 have room for a TCP header, as nearly all have: shorter datagrams go another way
/// than other packets do.
pub const fn length(family: Family) -> usize {
    match family {
        Family::V4 => LENGTH,
        Family::V6 => LENGTH + 16,
    }
}

/// What the generator is to send from the interface of that number.
pub fn stream(family: Family, ifindex: u32, clients: Clients, flows: u32) -> Stream {
    let mut frame = [0; LENGTH];
    frame[0..6].copy_from_slice(&FRONT_MAC);
    frame[6..12].copy_from_slice(&GEN_MAC);
    ip(&mut frame, family);
    let header = header(family);
    let udp = ETHERNET + header;
    let length = (length(family) - udp) as u16;
    frame[udp..udp + 2].copy_from_slice(&CLIENT_PORT.to_be_bytes());
    frame[udp + 2..udp + 4].copy_from_slice(&VIP_PORT.to_be_bytes());
    frame[udp + 4..udp + 6].copy_from_slice(&length.to_be_bytes());
    // IPv4 datagrams may go without a checksum; there it is the header's that changes.
    let sum = match family {
        Family::V4 => sum(&frame[ETHERNET..udp]),
        Family::V6 => {
            sum(&frame[ETHERNET + 8..])
                + u32::from(length.to_be())
                + u32::from(u16::from(UDP).to_be())
        }
    };
    Stream {
        words: words(&frame),
        sum,
        ifindex,
        clients,
        flows,
        is_six: u32::from(family == Family::V6),
        reserved: 0,
    }
}

/// What frames have to be when they arrive.
pub fn expected(family: Family, wiring: Wiring, delivery: Delivery) -> Expected {
    let mut want = Wanted {
        frame: [0; LENGTH],
        mask: [0; LENGTH],
    };
    want.put(0, &wiring.server_mac(), 0);
    let l4 = ETHERNET + header(family);
    let (source, destination) = match family {
        Family::V4 => (ETHERNET + 12, ETHERNET + 16),
        Family::V6 => (ETHERNET + 8, ETHERNET + 24),
    };
    let ether_type: [u8; 2] = match family {
        Family::V4 => [0x08, 0x00],
        Family::V6 => [0x86, 0xdd],
    };
    want.put(12, &ether_type, 0);
    let first = |addresses: &mut dyn Iterator<Item = IpAddr>| octets(addresses.next());
    let server = first(&mut family.servers(wiring));
    let vip = octets(Some(family.vip()));
    let protocol = match family {
        Family::V4 => ETHERNET + 9,
        Family::V6 => ETHERNET + 6,
    };
    want.put(
        protocol,
        &[if delivery == Delivery::Tunnel {
            IPIP
        } else {
            UDP
        }],
        0,
    );
    match delivery {
        Delivery::Vip => {
            want.put(destination, &vip, 0);
            want.put(l4 + 2, &VIP_PORT.to_be_bytes(), 0);
        }
        Delivery::Server | Delivery::Pool => {
            want.put(destination, &server, SERVERS - 1);
            want.put(l4 + 2, &SERVER_PORT.to_be_bytes(), 0);
        }
        Delivery::Tunnel => {
            want.put(destination, &server, SERVERS - 1);
            // The ports of the inner packet are out of sight.
            want.put(l4 + destination - ETHERNET, &vip, 0);
        }
    }
    match delivery {
        Delivery::Pool => {
            let pool = first(&mut family.pool(wiring));
            want.put(source, &pool, POOL - 1);
        }
        Delivery::Tunnel => {
            let prefix = TUNNELS.split_once('/').map_or("", |(prefix, _)| prefix);
            let prefix: IpAddr = prefix.parse().expect("an address");
            want.put(source, &octets(Some(prefix))[..2], 0);
        }
        // Clients' addresses stay.
        Delivery::Vip | Delivery::Server => {
            let client = octets(Some(family.client()));
            want.put(source, &client[..1], 0);
        }
    }
    Expected {
        mask: words(&want.mask),
        words: words(&want.frame),
    }
}

struct Wanted {
    frame: [u8; LENGTH],
    mask: [u8; LENGTH],
}

impl Wanted {
    /// These bytes there; of the last one all but the bits `free`.
    fn put(&mut self, at: usize, bytes: &[u8], free: u8) {
        let end = at + bytes.len();
        self.frame[at..end].copy_from_slice(bytes);
        self.mask[at..end].fill(0xff);
        self.mask[end - 1] = !free;
        self.frame[end - 1] &= !free;
    }
}

fn header(family: Family) -> usize {
    match family {
        Family::V4 => 20,
        Family::V6 => 40,
    }
}

fn ip(frame: &mut [u8; LENGTH], family: Family) {
    let (client, vip) = (octets(Some(family.client())), octets(Some(family.vip())));
    match family {
        Family::V4 => {
            frame[12..14].copy_from_slice(&0x0800u16.to_be_bytes());
            frame[14] = 0x45;
            let length = (length(family) - ETHERNET) as u16;
            frame[16..18].copy_from_slice(&length.to_be_bytes());
            frame[22] = TTL;
            frame[23] = UDP;
            frame[26..30].copy_from_slice(&client);
            frame[30..34].copy_from_slice(&vip);
        }
        Family::V6 => {
            frame[12..14].copy_from_slice(&0x86ddu16.to_be_bytes());
            frame[14] = 0x60;
            let length = (length(family) - ETHERNET - 40) as u16;
            frame[18..20].copy_from_slice(&length.to_be_bytes());
            frame[20] = UDP;
            frame[21] = TTL;
            frame[22..38].copy_from_slice(&client);
            frame[38..54].copy_from_slice(&vip);
        }
    }
}

fn octets(address: Option<IpAddr>) -> Vec<u8> {
    match address {
        Some(IpAddr::V4(address)) => address.octets().to_vec(),
        Some(IpAddr::V6(address)) => address.octets().to_vec(),
        None => Vec::new(),
    }
}

/// The sum of 16-bit words as they lie in memory.
fn sum(bytes: &[u8]) -> u32 {
    let words = bytes.chunks_exact(2);
    words
        .map(|word| u32::from(u16::from_ne_bytes([word[0], word[1]])))
        .sum()
}

fn words(bytes: &[u8; LENGTH]) -> [u64; WORDS] {
    std::array::from_fn(|word| {
        let bytes = bytes[word * 8..].first_chunk();
        u64::from_ne_bytes(*bytes.expect("a frame is whole words"))
    })
}
