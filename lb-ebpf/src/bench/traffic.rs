//! What packets a measurement runs on. Both sides compile this file: the program
//! that writes the packets, and the benchmark that says which.

/// Which client a packet comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Clients(u32);

impl Clients {
    /// Always the first.
    pub const ONE: Clients = Clients(0);
    /// One of `flows`, at random.
    pub const RANDOM: Clients = Clients(1);
    /// One after the other, none twice.
    pub const NEXT: Clients = Clients(2);
}

/// The head of every packet, in the words that it is written by. A word covers whatever
/// the pipeline reads at once: a load from two stores that are still on their way
/// stalls, which a packet from a network card never does.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Traffic {
    /// Bytes 0 to 7: destination MAC, two bytes of the source MAC.
    pub macs: u64,
    /// Bytes 8 to 15: the rest of the source MAC, EtherType, IP version, class.
    pub version: u64,
    /// IPv4, bytes 16 to 23: length, identification, fragment, TTL, protocol. IPv6,
    /// bytes 16 to 21: flow label, length, next header, hop limit.
    pub lifetime: u64,
    /// IPv4, bytes 26 to 33: source and destination, and three words that aren't used.
    /// IPv6, bytes 22 to 53: the same.
    pub addresses: [u64; 4],
    /// Source and destination port.
    pub ports: u32,
    /// IPv4 checksum.
    pub checksum: u16,
    /// TCP header length and flags.
    pub flags: u16,
    /// Whom they come from, or go to.
    pub clients: Clients,
    /// How many clients there are to choose from at random.
    pub flows: u32,
    /// 1 where the client is the packet's destination.
    pub to_client: u32,
    /// 1 for IPv6.
    pub is_six: u32,
    /// Bytes that the pipeline puts before the packet.
    pub overhead: u32,
    /// Bytes of the packet without those.
    pub length: u32,
}

/// Where the choice of clients stands.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Dice {
    /// State of the random numbers; not 0.
    pub random: u64,
    /// The next client.
    pub next: u64,
}
