//! The interfaces: programs on them, and their places in the device map.

use std::path::Path;

use lb_common::abi::Identity;
use tracing::{info, warn};

use super::{aims::Port, samples};
use crate::{
    api::types::XdpMode,
    datapath::{Attachment, Constants, DatapathError, Object, Pins, Tables, attach, object},
    net::{self, Mac, NetState},
};

/// The interfaces that are configured.
pub(super) struct Ports {
    ports: Vec<Attached>,
    pins: Pins,
    identity: Identity,
    sample: u32,
}

struct Attached {
    port: Port,
    mac: Mac,
    mode: Option<XdpMode>,
}

impl Ports {
    pub(super) fn new(pins: Pins, identity: Identity, sample: u32) -> Self {
        Ports {
            ports: Vec::new(),
            pins,
            identity,
            sample,
        }
    }

    pub(super) fn list(&self) -> Vec<Port> {
        self.ports
            .iter()
            .map(|attached| attached.port.clone())
            .collect()
    }

    pub(super) fn mode(&self, name: &str) -> Option<XdpMode> {
        self.ports
            .iter()
            .find(|attached| attached.port.name == name)?
            .mode
    }

    /// Whether all interfaces are there.
    ///
    /// # Errors
    ///
    /// [`DatapathError::NoInterface`] names the first that isn't.
    pub(super) fn check(names: &[String], net: &NetState) -> Result<(), DatapathError> {
        match names.iter().find(|name| net.link_by_name(name).is_none()) {
            Some(name) => Err(DatapathError::NoInterface { name: name.clone() }),
            None => Ok(()),
        }
    }

    /// Attaches to the interfaces named, detaches from those that were and no longer are.
    ///
    /// # Errors
    ///
    /// When one doesn't exist, runs another program, or the kernel refuses.
    pub(super) async fn set(
        &mut self,
        names: &[String],
        net: &NetState,
        tables: &mut Tables,
    ) -> Result<(), DatapathError> {
        Self::check(names, net)?;
        for name in names {
            if !self
                .ports
                .iter()
                .any(|attached| attached.port.name == *name)
            {
                self.ports.push(Attached {
                    port: Port {
                        name: name.clone(),
                        ifindex: 0,
                        egress: 0,
                    },
                    mac: Mac::default(),
                    mode: None,
                });
            }
        }
        self.follow(net, tables).await?;
        self.ports
            .retain(|attached| names.contains(&attached.port.name));
        for name in self.pins.linked()? {
            if !names.contains(&name) {
                info!(interface = name, "no longer configured: detached");
                attach::detach(&self.pins.link(&name))?;
            }
        }
        Ok(())
    }

    /// Attaches again where an interface has come back or has another MAC. True when
    /// any port is another now.
    ///
    /// # Errors
    ///
    /// When one runs another program, or the kernel refuses.
    pub(super) async fn follow(
        &mut self,
        net: &NetState,
        tables: &mut Tables,
    ) -> Result<bool, DatapathError> {
        let mut changed = false;
        for attached in &mut self.ports {
            let name = attached.port.name.clone();
            let link = net.link_by_name(&name);
            let Some((ifindex, mac)) = link.and_then(|link| Some((link.ifindex, link.mac?))) else {
                if attached.port.ifindex != 0 {
                    warn!(interface = name, "gone");
                    attached.port.ifindex = 0;
                    attached.mode = None;
                    changed = true;
                }
                continue;
            };
            if (ifindex, mac) == (attached.port.ifindex, attached.mac) {
                continue;
            }
            attached.port.egress = place(tables, ifindex)?;
            let constants = Constants {
                identity: self.identity,
                ifindex,
                mac,
                sample: self.sample,
            };
            let how = load(&name, &constants, &self.pins.maps(), &self.pins.link(&name))?;
            attached.port.ifindex = ifindex;
            attached.mac = mac;
            attached.mode = match how {
                Attachment::Native => Some(XdpMode::Native),
                Attachment::Generic => Some(XdpMode::Generic),
                Attachment::Replaced => net::xdp_mode(ifindex).await,
            };
            match attached.mode {
                Some(XdpMode::Generic) => warn!(
                    interface = name,
                    "attached in generic mode, which is several times slower: the driver has no native XDP, or needs other settings for it"
                ),
                _ => info!(interface = name, how = ?how, "attached"),
            }
            changed = true;
        }
        Ok(changed)
    }
}

/// The interface's place in the device map: the one that it has, or a free one.
fn place(tables: &mut Tables, ifindex: u32) -> Result<u32, DatapathError> {
    let devices = tables.devices();
    if let Some(slot) = devices.iter().position(|&device| device == ifindex) {
        return Ok(slot as u32);
    }
    let slot = devices.iter().position(|&device| device == 0).unwrap_or(0) as u32;
    tables.put_device(slot, ifindex)?;
    Ok(slot)
}

fn load(
    name: &str,
    constants: &Constants,
    maps: &Path,
    link: &Path,
) -> Result<Attachment, DatapathError> {
    let mut object = Object::load(object::OBJECT, constants, Some(maps))?;
    let how = attach::attach(object.program("flowgate")?, name, constants.ifindex, link)?;
    if constants.sample > 0 {
        samples::follow(name.to_owned(), object);
    }
    Ok(how)
}
