//! How packets reach a backend.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How packets reach a backend. In JSON it is what the configuration says: the
/// keys `forward`, and for a tunnel `encapsulation` and `gue_port`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "forward", rename_all = "kebab-case")]
pub enum Forward {
    /// Direct server return: only the destination MAC is rewritten.
    Dsr,
    /// Destination address and port are rewritten, and back on the return path.
    Nat,
    /// The packet is put whole into another one.
    Tunnel(Encapsulation),
    /// Both ends are rewritten, so that the answer comes back to us by itself.
    FullNat,
}

/// What a tunnelled packet is put into. The families of the outer header and of
/// the packet are those of the backend and of the VIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "encapsulation", rename_all = "kebab-case")]
pub enum Encapsulation {
    /// An IP header alone: IPIP (RFC 2003), IP6IP6, or one in the other (RFC 2473).
    Ipip,
    /// Generic UDP Encapsulation, variant 1: IP directly over UDP.
    Gue {
        /// The UDP port that backends listen on, 1–65535.
        #[serde(rename = "gue_port")]
        port: u16,
    },
}

impl Forward {
    /// Whether the data plane rewrites a packet's destination port, so that a
    /// backend may listen on another.
    #[must_use]
    pub fn translates(self) -> bool {
        matches!(self, Self::Nat | Self::FullNat)
    }

    /// Its name in the configuration, without the encapsulation.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Dsr => "dsr",
            Self::Nat => "nat",
            Self::Tunnel(_) => "tunnel",
            Self::FullNat => "full-nat",
        }
    }
}

impl Encapsulation {
    /// Its name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ipip => "ipip",
            Self::Gue { .. } => "gue",
        }
    }
}

impl fmt::Display for Forward {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tunnel(encapsulation) => write!(out, "tunnel/{}", encapsulation.name()),
            _ => out.pad(self.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_says_what_the_configuration_says() {
        let gue = Encapsulation::Gue { port: 6_080 };
        for (forward, json) in [
            (Forward::Dsr, r#"{"forward":"dsr"}"#),
            (Forward::FullNat, r#"{"forward":"full-nat"}"#),
            (
                Forward::Tunnel(Encapsulation::Ipip),
                r#"{"forward":"tunnel","encapsulation":"ipip"}"#,
            ),
            (
                Forward::Tunnel(gue),
                r#"{"forward":"tunnel","encapsulation":"gue","gue_port":6080}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&forward).unwrap(), json);
            assert_eq!(serde_json::from_str::<Forward>(json).unwrap(), forward);
        }
    }
}
