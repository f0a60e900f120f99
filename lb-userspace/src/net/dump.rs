//! Asks the kernel for all it knows.

use futures_util::StreamExt;
use rtnetlink::{
    Handle,
    packet_core::{NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload},
    packet_route::{
        RouteNetlinkMessage, address::AddressMessage, link::LinkMessage,
        neighbour::NeighbourMessage, route::RouteMessage,
    },
};

use super::{NetState, WatchError};

/// How often a table is asked for while changes disturb the dump. A picture
/// from a disturbed dump may lack entries that nothing will ever announce.
const ATTEMPTS: u32 = 20;

/// All links, addresses, routes and neighbours, of whatever families there are. (Asked
/// for a family that it lacks, a kernel tells those that it has, again.)
pub(super) async fn dump(handle: &Handle) -> Result<NetState, WatchError> {
    use RouteNetlinkMessage as M;
    let mut messages = Vec::new();
    for (what, request) in [
        ("links", M::GetLink(LinkMessage::default())),
        ("addresses", M::GetAddress(AddressMessage::default())),
        ("routes", M::GetRoute(RouteMessage::default())),
        ("neighbours", M::GetNeighbour(NeighbourMessage::default())),
    ] {
        messages.extend(table(handle, what, request).await?);
    }
    Ok(NetState::from_dump(&messages))
}

/// One table, asked for until the kernel says that nothing changed meanwhile.
async fn table(
    handle: &Handle,
    what: &'static str,
    request: RouteNetlinkMessage,
) -> Result<Vec<RouteNetlinkMessage>, WatchError> {
    let failed = |why: String| WatchError::Dump { what, why };
    for _ in 0..ATTEMPTS {
        let (entries, disturbed) = once(handle.clone(), request.clone())
            .await
            .map_err(failed)?;
        if !disturbed {
            return Ok(entries);
        }
    }
    Err(failed(format!("changes disturbed {ATTEMPTS} attempts")))
}

/// One dump, and whether it was disturbed.
async fn once(
    mut handle: Handle,
    request: RouteNetlinkMessage,
) -> Result<(Vec<RouteNetlinkMessage>, bool), String> {
    let mut request = NetlinkMessage::from(request);
    request.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut answers = handle.request(request).map_err(|error| error.to_string())?;
    let mut entries = Vec::new();
    let mut disturbed = false;
    while let Some(answer) = answers.next().await {
        disturbed |= answer.header.flags & NLM_F_DUMP_INTR != 0;
        match answer.payload {
            NetlinkPayload::InnerMessage(entry) => entries.push(entry),
            NetlinkPayload::Done(_) => return Ok((entries, disturbed)),
            NetlinkPayload::Error(error) => return Err(error.to_string()),
            _ => disturbed = true,
        }
    }
    Err("the netlink socket broke".to_owned())
}
