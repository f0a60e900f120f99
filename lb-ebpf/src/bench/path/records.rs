//! What is sent, and what has to arrive. Both sides compile this file: the programs
//! that send and count, and the benchmark that says what.

/// Words of 8 bytes that a frame is written and compared by: all of it.
pub const WORDS: usize = 8;

/// Which client a frame comes from. Each CPU has clients of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Clients(u32);

impl Clients {
    /// One of `flows`, at random; where there is one only, always that.
    #[allow(dead_code, reason = "only the benchmark chooses this one by name")]
    pub const RANDOM: Clients = Clients(0);
    /// One after the other, none twice.
    pub const NEXT: Clients = Clients(1);
}

/// What the generator sends.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Stream {
    /// The frame as it lies in memory, without the client's bits and the checksum that
    /// covers them.
    pub words: [u64; WORDS],
    /// The one's complement sum that the checksum is of, without the client's bits.
    pub sum: u32,
    /// The interface that it leaves by.
    pub ifindex: u32,
    /// How clients are chosen.
    pub clients: Clients,
    /// How many clients a CPU has to choose from at random.
    pub flows: u32,
    /// 1 for IPv6.
    pub is_six: u32,
    /// 0.
    pub reserved: u32,
}

/// Where a CPU's choice of clients stands.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Dice {
    /// State of the random numbers; not 0.
    pub random: u64,
    /// The next client, counted from the first.
    pub next: u32,
    /// The number of the CPU's first client.
    pub first: u32,
}

/// What frames that arrive have to be.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Expected {
    /// The bits that tell.
    pub mask: [u64; WORDS],
    /// What these bits are.
    pub words: [u64; WORDS],
}

/// What a CPU has counted at the sink.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct Arrived {
    /// Frames as expected.
    pub right: u64,
    /// Frames of IP that weren't.
    pub wrong: u64,
}

/// Whom the bare forwarder addresses frames to: the first 12 bytes of a frame.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Macs {
    /// The destination and two bytes of the source.
    pub low: u64,
    /// The rest of the source.
    pub high: u32,
    /// 0.
    pub reserved: u32,
}
