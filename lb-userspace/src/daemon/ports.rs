//! The interfaces: programs on them, and their places in the device map.

use std::path::Path;

use lb_common::abi::Identity;
use tracing::{info, warn};

use super::{aims::Port, samples};
use crate::{
    api::types::XdpMode,
    datapath::{Attachment, Constants, DatapathError, Object, Pins, Place, Tables, attach, object},
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

    /// Attaches again where an interface has come back or has another MAC, which is a
    /// constant of its program. True when any port is another now.
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
                egress: attached.port.egress.into(),
                mac,
                sample: self.sample,
            };
            let (maps, link) = (self.pins.maps(), self.pins.link(&name));
            let how = load(&name, ifindex, &constants, &maps, &link)?;
            attached.port.ifindex = ifindex;
            attached.mac = mac;
            attached.mode = mode(how, ifindex).await;
            tell(&name, how, attached.mode);
            changed = true;
        }
        Ok(changed)
    }
}

/// The interface's place in the device map: the one that it has, or a free one.
fn place(tables: &mut Tables, ifindex: u32) -> Result<u16, DatapathError> {
    let devices = tables.devices();
    if let Some(slot) = devices.iter().position(|&device| device == ifindex) {
        return Ok(slot as u16);
    }
    let slot = devices.iter().position(|&device| device == 0).unwrap_or(0) as u16;
    tables.put_device(slot.into(), ifindex)?;
    Ok(slot)
}

async fn mode(how: Attachment, ifindex: u32) -> Option<XdpMode> {
    let native = match how.is_multi_buffer {
        true => XdpMode::NativeMultiBuffer,
        false => XdpMode::Native,
    };
    match how.place {
        Place::Native => Some(native),
        Place::Generic => Some(XdpMode::Generic),
        Place::Replaced => match net::xdp_mode(ifindex).await {
            Some(XdpMode::Native) => Some(native),
            other => other,
        },
    }
}

fn tell(interface: &str, how: Attachment, mode: Option<XdpMode>) {
    match mode {
        Some(XdpMode::Generic) => warn!(
            interface,
            "attached in generic mode, which is several times slower: the driver has no native XDP, or needs other settings for it"
        ),
        Some(XdpMode::NativeMultiBuffer) => info!(
            interface,
            how = ?how.place,
            "attached in native mode, for frames in several buffers: the driver takes no other program with this MTU"
        ),
        _ => info!(interface, how = ?how.place, "attached in native mode"),
    }
}

fn load(
    name: &str,
    ifindex: u32,
    constants: &Constants,
    maps: &Path,
    link: &Path,
) -> Result<Attachment, DatapathError> {
    let mut object = Object::load(object::OBJECT, constants, Some(maps))?;
    let how = attach::attach(&mut object, name, ifindex, link)?;
    if constants.sample > 0 {
        samples::follow(name.to_owned(), object);
    }
    Ok(how)
}
