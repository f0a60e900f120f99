//! What the API says of new connections to whoever watches.

use std::{net::SocketAddr, ops::RangeInclusive, pin::Pin};

use futures_util::Stream;
use serde::{Deserialize, Serialize};

use crate::config::model::Protocol;

/// `POST /v1/flows/watch`: what is to be told. The answer is JSON lines, a [`Told`] each,
/// until whoever asked goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// The services whose connections are told of; all when there are none.
    #[serde(default)]
    pub services: Vec<String>,
    /// How many connections are told of in a second: see [`Ask::RATES`].
    #[serde(default = "Ask::usual_rate")]
    pub rate: u32,
}

impl Ask {
    /// The rates that can be asked for.
    pub const RATES: RangeInclusive<u32> = 1..=100_000;

    /// The rate unless another is asked for.
    pub const RATE: u32 = 1_000;

    const fn usual_rate() -> u32 {
        Ask::RATE
    }
}

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Told {
    /// A connection has begun.
    Opened(Opening),
    /// Others have begun that were not told of: they were more than the rate, or whoever
    /// watches didn't read fast enough.
    NotShown {
        /// How many, since this was last told. While others watch other services,
        /// theirs may be among them.
        not_shown: u64,
    },
}

/// A connection that has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// When its first packet came, in milliseconds since 1970 (UTC).
    pub at_ms: u64,
    /// Its protocol.
    pub protocol: Protocol,
    /// The client's address and port.
    pub client: SocketAddr,
    /// The VIP and the port that the client speaks to.
    pub vip: SocketAddr,
    /// Whom it was given to; `None` when that has been removed since.
    #[serde(flatten)]
    pub to: Option<Server>,
}

/// Whom a connection was given to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// The service's name.
    pub service: String,
    /// The backend's name in it.
    pub backend: String,
    /// The backend's address, and the port that it is spoken to at.
    pub server: SocketAddr,
}

/// What is told, one thing after the other. Dropping it ends the watch.
pub type Telling = Pin<Box<dyn Stream<Item = Told> + Send>>;

/// One line of the answer.
///
/// # Errors
///
/// None that is known: whatever is told can be written as JSON.
pub fn line(told: &Told) -> Result<Vec<u8>, serde_json::Error> {
    let mut line = serde_json::to_vec(told)?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening(to: Option<Server>) -> Told {
        Told::Opened(Opening {
            at_ms: 1_700_000_000_123,
            protocol: Protocol::Tcp,
            client: "198.51.100.7:40312".parse().unwrap(),
            vip: "[2001:db8::10]:80".parse().unwrap(),
            to,
        })
    }

    #[test]
    fn lines_are_read_as_they_were_written() {
        let server = Server {
            service: "web".into(),
            backend: "web1".into(),
            server: "10.0.0.11:8080".parse().unwrap(),
        };
        let told = [
            opening(Some(server)),
            opening(None),
            Told::NotShown { not_shown: 12 },
        ];
        for told in told {
            let line = line(&told).unwrap();
            assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
            assert_eq!(serde_json::from_slice::<Told>(&line).unwrap(), told);
        }
        let line = line(&Told::NotShown { not_shown: 12 }).unwrap();
        assert_eq!(line, b"{\"not_shown\":12}\n");
    }

    #[test]
    fn who_asks_for_nothing_special_gets_all_services() {
        let ask: Ask = serde_json::from_str("{}").unwrap();
        assert_eq!((ask.services.len(), ask.rate), (0, 1_000));
        assert!(serde_json::from_str::<Ask>(r#"{"service": "web"}"#).is_err());
    }
}
