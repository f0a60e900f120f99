use super::{Address, Mac, Record};

/// Whether a backend takes new flows, and keeps those that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum BackendState {
    /// The number belongs to no backend. Flows that still name it are scheduled again.
    Free = 0,
    /// Takes new flows and keeps those that it has.
    Active = 1,
    /// Keeps its flows, gets no new ones.
    Draining = 2,
    /// Gets no new flows; those that it has are scheduled again at once.
    Down = 3,
}

impl BackendState {
    /// The state that a record's byte stands for; bytes that stand for none are `Free`.
    #[must_use]
    #[inline(always)]
    pub const fn from_byte(byte: u8) -> Self {
        match byte {
            1 => BackendState::Active,
            2 => BackendState::Draining,
            3 => BackendState::Down,
            _ => BackendState::Free,
        }
    }
}

/// How packets reach a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Forward {
    /// Direct server return: the destination MAC is rewritten.
    Dsr = 1,
    /// Destination address and port are rewritten, and back on the return path.
    Nat = 2,
}

/// One server in one service. Indexed by backend number; number 0 is never used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Backend {
    /// The server's own address.
    pub address: Address,
    /// Its service's VIP.
    pub vip: Address,
    /// The server's port, in network byte order.
    pub port: u16,
    /// The service's port, in network byte order.
    pub vip_port: u16,
    /// The service's number.
    pub service: u16,
    /// Another backend with this address, port and protocol, in a `nat` service; 0 for none.
    pub sharing: u16,
    /// The interface behind which the backend is.
    pub ifindex: u32,
    /// That interface's place in the device map.
    pub egress: u32,
    /// MAC of the backend, or of the router on the way to it. All of it lies in one word.
    pub destination: Mac,
    /// MAC of our interface.
    pub source: Mac,
    /// [`BackendState`].
    pub state: u8,
    /// [`Forward`].
    pub forward: u8,
    /// IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub reserved: u8,
}

// SAFETY: the fields' sizes add up to the checked size, so there is no padding;
// integers and byte arrays take every bit pattern.
unsafe impl Record for Backend {}
const _: () = assert!(size_of::<Backend>() == 64);

impl Backend {
    /// A number that no backend has.
    pub const FREE: Backend = Backend {
        address: [0; 4],
        vip: [0; 4],
        port: 0,
        vip_port: 0,
        service: 0,
        sharing: 0,
        ifindex: 0,
        egress: 0,
        destination: [0; 6],
        source: [0; 6],
        state: BackendState::Free as u8,
        forward: 0,
        protocol: 0,
        reserved: 0,
    };
}
