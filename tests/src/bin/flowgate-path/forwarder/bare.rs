//! The barest XDP forwarders: what the network around a forwarder costs by itself.

use anyhow::Result;
use flowgate_tests::link::End;

use super::{Forwarder, MANY, MILLION, Running};
use crate::{
    addresses::{BACK_MAC, Family, Wiring},
    bed::Bed,
    programs::Program,
};

/// It writes two MAC addresses and sends the frame on (through), or swaps them and sends
/// it back (hairpin).
pub struct Bare {
    family: Family,
    wiring: Wiring,
}

pub fn all() -> Vec<Bare> {
    let bare = |family, wiring| Bare { family, wiring };
    vec![
        bare(Family::V4, Wiring::Through),
        bare(Family::V6, Wiring::Through),
        bare(Family::V4, Wiring::Hairpin),
    ]
}

impl Forwarder for Bare {
    fn name(&self) -> String {
        let name = match self.wiring {
            Wiring::Through => "bare redirect",
            Wiring::Hairpin => "bare tx",
        };
        name.to_owned()
    }

    fn family(&self) -> Family {
        self.family
    }

    fn wiring(&self) -> Wiring {
        self.wiring
    }

    fn flows(&self) -> &'static [u32] {
        &[1, MANY, MILLION]
    }

    fn is_bare(&self) -> bool {
        true
    }

    fn start(&self, bed: &mut Bed) -> Result<Box<dyn Running>> {
        let Bed { lb, programs, .. } = bed;
        let front = End::new(lb, "front");
        match self.wiring {
            Wiring::Through => {
                let back = End::new(lb, "back");
                programs.set_bare(back, self.wiring.server_mac(), BACK_MAC)?;
                programs.attach(front, Program::BareRedirect)?;
                // As Flowgate, which runs on both interfaces.
                programs.attach(back, Program::Pass)?;
            }
            Wiring::Hairpin => programs.attach(front, Program::BareTx)?,
        }
        Ok(Box::new(super::Alone))
    }
}
