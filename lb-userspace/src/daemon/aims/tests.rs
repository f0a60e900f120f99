use super::*;

#[test]
fn only_a_healthy_backend_is_up() {
    use AdminState::{Draining, Enabled};
    let rows = [
        (Enabled, None, BackendState::Active),
        (Enabled, Some(Health::Healthy), BackendState::Active),
        (Enabled, Some(Health::Checking), BackendState::Down),
        (Enabled, Some(Health::Failed), BackendState::Down),
        (Draining, Some(Health::Healthy), BackendState::Draining),
        (Draining, Some(Health::Failed), BackendState::Down),
        (Draining, None, BackendState::Draining),
    ];
    for (admin, health, want) in rows {
        assert_eq!(state(admin, health.as_ref()), want, "{admin:?} {health:?}");
    }
}
