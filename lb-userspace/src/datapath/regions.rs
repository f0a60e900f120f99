//! Maps whose memory the program addresses without looking it up: arrays of one element
//! that holds all records.
//!
//! The program names each like a variable that is nowhere defined. We make the maps, or
//! take the pinned ones, and [`super::link`] puts them in such a variable's place.

use std::{mem::size_of, path::Path};

use aya::maps::MapData;
use aya_obj::{
    EbpfSectionKind,
    generated::{BPF_F_MMAPABLE, bpf_map_type::BPF_MAP_TYPE_ARRAY},
    maps::{LegacyMap, PinningType, bpf_map_def},
};
use lb_common::{
    abi::{
        Address, Backend, Bucket, Cursor, Endpoint, Identity, Lease, Load, PortBucket, Route,
        Route6, Traffic, Tunnel, VerdictCounts, WHEEL_CHUNK, Watch, WheelChunk,
    },
    limits,
};

use super::{
    DatapathError, kernel_error,
    object::{buckets, port_buckets},
};

/// The flow table.
pub const FLOWS: &str = "FLOWS";

/// What is watched.
pub const WATCH: &str = "WATCH";

/// Their names, which are also those of the program's variables.
pub const NAMES: [&str; 19] = [
    FLOWS,
    "ENDPOINTS",
    "PILOTS",
    "KNOWN",
    "BACKENDS",
    "TUNNELS",
    "LOADS",
    "WHEELS",
    "POOL",
    "PORTS",
    "LEASES",
    WATCH,
    "ROUTES",
    "ROUTES6",
    "VERDICTS",
    "CURSORS",
    "TO_BACKENDS",
    "TO_CLIENTS",
    "CONNECTIONS",
];

/// Bytes of one of them, where `cpus` CPUs have a block of what each counts for itself.
fn size(name: &str, identity: &Identity, cpus: u32) -> usize {
    let cpus = cpus as usize;
    let backends = limits::MAX_BACKENDS as usize + 1;
    let routes = limits::MAX_ROUTES as usize;
    match name {
        FLOWS => buckets(identity) as usize * size_of::<Bucket>(),
        "ENDPOINTS" => limits::ENDPOINT_SLOTS as usize * size_of::<Endpoint>(),
        "PILOTS" => limits::ENDPOINT_GROUPS as usize * size_of::<u16>(),
        "KNOWN" => limits::KNOWN_BITS as usize / 8,
        "BACKENDS" => backends * size_of::<Backend>(),
        "TUNNELS" => backends * size_of::<Tunnel>(),
        "LOADS" => backends * size_of::<Load>(),
        "WHEELS" => (limits::WHEEL_ENTRIES / WHEEL_CHUNK) as usize * size_of::<WheelChunk>(),
        "POOL" => limits::MAX_POOL as usize * size_of::<Address>(),
        "PORTS" => port_buckets(identity) as usize * size_of::<PortBucket>(),
        "LEASES" => limits::MAX_GROUPS as usize * size_of::<Lease>(),
        WATCH => size_of::<Watch>(),
        "ROUTES" => routes * size_of::<Route>(),
        "ROUTES6" => routes * size_of::<Route6>(),
        "VERDICTS" => cpus * size_of::<VerdictCounts>(),
        "CURSORS" => cpus * limits::MAX_SERVICES as usize * size_of::<Cursor>(),
        "TO_BACKENDS" | "TO_CLIENTS" => cpus * backends * size_of::<Traffic>(),
        "CONNECTIONS" => cpus * backends * size_of::<u64>(),
        _ => unreachable!("{name} is one of NAMES"),
    }
}

/// All of them.
pub struct Regions(Vec<(&'static str, MapData)>);

impl Regions {
    /// Makes them, with blocks for `cpus` CPUs, or takes those that are pinned below `pins`.
    ///
    /// # Errors
    ///
    /// [`DatapathError::NotPermitted`] or [`DatapathError::Kernel`].
    pub fn open(
        identity: &Identity,
        cpus: u32,
        pins: Option<&Path>,
    ) -> Result<Self, DatapathError> {
        let open = |&name| Ok((name, open(name, size(name, identity, cpus), pins)?));
        let maps: Result<_, DatapathError> = NAMES.iter().map(open).collect();
        Ok(Regions(maps?))
    }

    /// The map of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&MapData> {
        let map = self.0.iter().find(|(other, _)| *other == name);
        map.map(|(_, map)| map)
    }
}

fn open(name: &str, size: usize, pins: Option<&Path>) -> Result<MapData, DatapathError> {
    let failed = |what: &str, e: &(dyn std::error::Error + 'static)| {
        kernel_error(format!("{what} the map {name}"), e)
    };
    let pin = pins.map(|pins| pins.join(name));
    if let Some(pin) = pin.as_ref().filter(|pin| pin.exists()) {
        return MapData::from_pin(pin).map_err(|e| failed("opening", &e));
    }
    let map = aya_obj::Map::Legacy(LegacyMap {
        def: bpf_map_def {
            map_type: BPF_MAP_TYPE_ARRAY as u32,
            key_size: size_of::<u32>() as u32,
            value_size: size as u32,
            max_entries: 1,
            map_flags: BPF_F_MMAPABLE,
            id: 0,
            pinning: PinningType::None,
        },
        inner_def: None,
        section_index: 0,
        section_kind: EbpfSectionKind::Maps,
        symbol_index: None,
        data: Vec::new(),
    });
    let map = MapData::create(map, name, None).map_err(|e| failed("creating", &e))?;
    if let Some(pin) = pin {
        map.pin(pin).map_err(|e| failed("pinning", &e))?;
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::model::Timeouts, datapath::object};

    #[test]
    fn a_map_is_below_what_the_verifier_lets_a_program_address() {
        let identity = object::new_identity(*limits::FLOWS.end(), &Timeouts::default());
        let identity = identity.expect("random numbers");
        for name in NAMES {
            let size = size(name, &identity, limits::MAX_CPUS);
            assert!(size <= 1 << 29, "{name}: {size} bytes");
        }
    }
}
