//! Flowgate, as its own binary sets it up.

use std::{fmt::Write as _, net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use flowgate_tests::{
    bpffs::PinDir,
    counters,
    flowgate::{self, Flowgate},
    wait::eventually,
};

use super::{Forwarder, MANY, MILLION, Running};
use crate::{
    addresses::{CLIENT_PORT, Family, SERVER_PORT, TUNNELS, VIP_PORT, Wiring},
    bed::Bed,
    frame::Delivery,
};

/// By when a wheel has come to rest: the daemon sweeps every 10 s.
const SETTLED: Duration = Duration::from_secs(40);

/// A forwarding mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Dsr,
    Nat,
    Tunnel,
    FullNat,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::Dsr => "dsr",
            Self::Nat => "nat",
            Self::Tunnel => "tunnel",
            Self::FullNat => "full-nat",
        }
    }
}

/// How flows are scheduled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheduler {
    /// Each flow is remembered.
    RoundRobin,
    /// In `dsr` and `tunnel` none is.
    Maglev,
}

impl Scheduler {
    /// Its name in the rows.
    pub fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round robin",
            Self::Maglev => "Maglev",
        }
    }

    fn option(self) -> &'static str {
        match self {
            Self::RoundRobin => "round-robin",
            Self::Maglev => "maglev",
        }
    }
}

/// A daemon with one service.
pub struct Ours {
    mode: Mode,
    family: Family,
    scheduler: Scheduler,
    wiring: Wiring,
}

pub fn all() -> Vec<Ours> {
    use Scheduler::{Maglev, RoundRobin};
    use Wiring::{Hairpin, Through};
    let ours = |mode, family, scheduler, wiring| Ours {
        mode,
        family,
        scheduler,
        wiring,
    };
    let (four, six) = (Family::V4, Family::V6);
    vec![
        ours(Mode::Dsr, four, RoundRobin, Through),
        ours(Mode::Dsr, four, Maglev, Through),
        ours(Mode::Dsr, six, RoundRobin, Through),
        ours(Mode::Dsr, six, Maglev, Through),
        ours(Mode::Dsr, four, RoundRobin, Hairpin),
        ours(Mode::Dsr, four, Maglev, Hairpin),
        ours(Mode::Nat, four, RoundRobin, Through),
        ours(Mode::Nat, four, Maglev, Through),
        ours(Mode::Tunnel, four, RoundRobin, Through),
        ours(Mode::Tunnel, four, Maglev, Through),
        ours(Mode::FullNat, four, RoundRobin, Through),
        ours(Mode::FullNat, four, Maglev, Through),
    ]
}

impl Forwarder for Ours {
    fn name(&self) -> String {
        let hairpin = match self.wiring {
            Wiring::Through => "",
            Wiring::Hairpin => " hairpin",
        };
        format!("flowgate {}{hairpin}", self.mode.name())
    }

    fn family(&self) -> Family {
        self.family
    }

    fn wiring(&self) -> Wiring {
        self.wiring
    }

    fn delivery(&self) -> Delivery {
        match self.mode {
            Mode::Dsr => Delivery::Vip,
            Mode::Nat => Delivery::Server,
            Mode::Tunnel => Delivery::Tunnel,
            Mode::FullNat => Delivery::Pool,
        }
    }

    fn scheduler(&self) -> Option<Scheduler> {
        Some(self.scheduler)
    }

    fn flows(&self) -> &'static [u32] {
        match self.mode {
            Mode::Dsr => &[1, MANY, MILLION],
            // A pool for a million would be 20 addresses.
            _ => &[1, MANY],
        }
    }

    fn is_ours(&self) -> bool {
        true
    }

    fn look(&self) -> Result<()> {
        flowgate::binary().map(drop)
    }

    fn start(&self, bed: &mut Bed) -> Result<Box<dyn Running>> {
        let pins = PinDir::new()?;
        let text = self.configuration(bed.room);
        let binary = flowgate::binary()?;
        let mut daemon = Flowgate::installed(&binary, bed.scratch(), pins.path(), &text)?;
        daemon.start(&bed.lb)?;
        let is_kept = matches!(self.mode, Mode::Nat | Mode::FullNat);
        let verdict = match self.scheduler {
            Scheduler::Maglev if !is_kept => {
                self.settled(&daemon)?;
                "forward_stable"
            }
            _ => "forward_known",
        };
        Ok(Box::new(Daemon {
            daemon,
            verdict,
            _pins: pins,
        }))
    }
}

impl Ours {
    /// Waits until the places of the wheel are stable. Those of a service that begins look
    /// at the flow table until the daemon has swept it.
    fn settled(&self, daemon: &Flowgate) -> Result<()> {
        let client = SocketAddr::new(self.family.client(), CLIENT_PORT).to_string();
        let vip = SocketAddr::new(self.family.vip(), VIP_PORT).to_string();
        eventually(SETTLED, "the wheel's places are stable", || {
            let found = daemon.json(&["flows", "find", "udp", &client, &vip])?;
            Ok((found["hash"]["stage"] == "stable").then_some(()))
        })
    }

    fn configuration(&self, room: u32) -> String {
        let mut text = format!(
            "[node]\ninterfaces = {:?}\nmax_flows = {room}\n\n[timeouts]\nudp = \"1h\"\n",
            self.wiring.interfaces()
        );
        match self.mode {
            Mode::Tunnel => {
                let _ = writeln!(text, "\n[tunnel]\nsource = [\"{TUNNELS}\"]");
            }
            Mode::FullNat => {
                let pool = self.family.pool(self.wiring);
                let pool: Vec<String> = pool.map(|address| address.to_string()).collect();
                let _ = writeln!(text, "\n[full_nat]\naddresses = {pool:?}");
            }
            Mode::Dsr | Mode::Nat => {}
        }
        let _ = write!(
            text,
            "\n[[service]]\nname = \"path\"\nvip = \"{}\"\nport = {VIP_PORT}\nprotocol = \"udp\"\n\
             forward = \"{}\"\nscheduler = \"{}\"\n",
            self.family.vip(),
            self.mode.name(),
            self.scheduler.option(),
        );
        for (number, server) in self.family.servers(self.wiring).enumerate() {
            let _ = write!(
                text,
                "\n[[service.backend]]\nname = \"server{number}\"\naddress = \"{server}\"\n"
            );
            if matches!(self.mode, Mode::Nat | Mode::FullNat) {
                let _ = writeln!(text, "port = {SERVER_PORT}");
            }
        }
        text
    }
}

struct Daemon {
    daemon: Flowgate,
    /// What packets of known flows come to.
    verdict: &'static str,
    _pins: PinDir,
}

impl Running for Daemon {
    fn known(&self) -> Result<Option<u64>> {
        let verdicts = counters::of_verdicts(&self.daemon)?;
        let count = verdicts.get(self.verdict).copied();
        Ok(Some(
            count.with_context(|| format!("no verdict {}", self.verdict))?,
        ))
    }
}
