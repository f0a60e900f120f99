//! The ports of a service.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The ports that a service balances. As text it is what the configuration says
/// and the screen shows; in JSON a number, 0 for any port, or `"first-last"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ports {
    /// One port, 1–65535.
    Exact(u16),
    /// All ports between two, both included: 1 ≤ first < last.
    Range {
        /// The lowest port.
        first: u16,
        /// The highest port.
        last: u16,
    },
    /// Every port that no other service of the VIP and protocol balances.
    Any,
}

impl Ports {
    /// The lowest port; 0 for any port.
    #[must_use]
    pub fn first(self) -> u16 {
        match self {
            Self::Exact(port) => port,
            Self::Range { first, .. } => first,
            Self::Any => 0,
        }
    }

    /// The highest port; 65535 for any port.
    #[must_use]
    pub fn last(self) -> u16 {
        match self {
            Self::Exact(port) => port,
            Self::Range { last, .. } => last,
            Self::Any => u16::MAX,
        }
    }

    /// The port, if it is one.
    #[must_use]
    pub fn exact(self) -> Option<u16> {
        match self {
            Self::Exact(port) => Some(port),
            Self::Range { .. } | Self::Any => None,
        }
    }

    /// Whether these are ports of both.
    #[must_use]
    pub fn overlap(self, other: Self) -> bool {
        self.first() <= other.last() && other.first() <= self.last()
    }
}

impl From<u16> for Ports {
    /// One port; 0 stands for any.
    fn from(port: u16) -> Self {
        match port {
            0 => Self::Any,
            port => Self::Exact(port),
        }
    }
}

/// A text that is no range of ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a range of ports is written as \"5000-5999\", the lower one first")]
pub struct NotPorts;

impl FromStr for Ports {
    type Err = NotPorts;

    /// A range as `5000-5999`.
    fn from_str(text: &str) -> Result<Self, NotPorts> {
        let (first, last) = text.split_once('-').ok_or(NotPorts)?;
        let number = |text: &str| text.trim().parse::<u16>().map_err(|_| NotPorts);
        let (first, last) = (number(first)?, number(last)?);
        if first == 0 || first >= last {
            return Err(NotPorts);
        }
        Ok(Self::Range { first, last })
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(port) => write!(out, "{port}"),
            Self::Range { first, last } => write!(out, "{first}-{last}"),
            Self::Any => out.write_str("any"),
        }
    }
}

impl Serialize for Ports {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Exact(port) => to.serialize_u16(*port),
            Self::Range { .. } => to.collect_str(self),
            Self::Any => to.serialize_u16(0),
        }
    }
}

impl<'de> Deserialize<'de> for Ports {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(u16),
            Text(String),
        }
        match Form::deserialize(from)? {
            Form::Number(port) => Ok(port.into()),
            Form::Text(text) => text.parse().map_err(de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: Ports = Ports::Range {
        first: 5_000,
        last: 5_999,
    };

    #[test]
    fn ports_survive_json() {
        for (ports, json) in [
            (Ports::Exact(80), "80"),
            (Ports::Any, "0"),
            (RANGE, "\"5000-5999\""),
        ] {
            assert_eq!(serde_json::to_string(&ports).unwrap(), json);
            assert_eq!(serde_json::from_str::<Ports>(json).unwrap(), ports);
        }
        for json in ["\"80\"", "\"0-5\"", "\"6-5\"", "\"5-5\"", "65536", "\"\""] {
            assert!(serde_json::from_str::<Ports>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn ranges_overlap_at_their_ends() {
        let range = |first, last| Ports::Range { first, last };
        assert!(RANGE.overlap(range(5_999, 6_000)));
        assert!(!RANGE.overlap(range(6_000, 6_001)));
        assert!(RANGE.overlap(Ports::Exact(5_000)));
        assert!(!RANGE.overlap(Ports::Exact(4_999)));
        assert!(RANGE.overlap(Ports::Any));
    }
}
