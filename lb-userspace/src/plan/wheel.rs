//! A service's wheel.

use lb_common::wheel::{self, Slot};

use super::TargetService;

/// The wheel over those of a service's backends that take new flows. `numbers` are the
/// backends' in the service's order.
pub(super) fn entries(
    service: &TargetService,
    numbers: &[u16],
    is_active: impl Fn(u16) -> bool,
) -> Vec<Slot> {
    let (active, weights): (Vec<u16>, Vec<u16>) = numbers
        .iter()
        .zip(&service.backends)
        .filter(|(number, _)| is_active(**number))
        .map(|(number, (_, backend))| (*number, backend.weight))
        .unzip();
    let mut wheel = vec![0; wheel::smooth_length(&weights) as usize];
    wheel::fill_smooth(&weights, &mut vec![0; weights.len()], &mut wheel);
    wheel
        .iter()
        .map(|&place| Slot::stable(active[usize::from(place)]))
        .collect()
}
