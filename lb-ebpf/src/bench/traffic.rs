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
    /// Bytes 8 to 15: the rest of the source MAC, EtherType, IPv4 version, TOS.
    pub version: u64,
    /// Bytes 16 to 23: IPv4 length, identification, fragment, TTL, protocol.
    pub lifetime: u64,
    /// Bytes 26 to 33: IPv4 source and destination.
    pub addresses: u64,
    /// Bytes 34 to 37: source and destination port.
    pub ports: u32,
    /// Bytes 24 and 25: IPv4 checksum.
    pub checksum: u16,
    /// Bytes 46 and 47: TCP header length and flags.
    pub flags: u16,
    /// Whom they come from, or go to.
    pub clients: Clients,
    /// How many clients there are to choose from at random.
    pub flows: u32,
    /// Whether the client is the packet's destination.
    pub to_client: u64,
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
