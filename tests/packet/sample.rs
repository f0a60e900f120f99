//! The sampling switch costs nothing while it is off.

use flowgate::datapath::{
    Constants, Object,
    object::{OBJECT, new_identity},
};

/// Bytes of the program as the kernel runs it, before it is made machine code.
fn translated(sample: u32) -> u32 {
    let constants = Constants {
        identity: new_identity(1_024, &flowgate::config::model::Timeouts::default())
            .expect("random numbers"),
        egress: 0,
        mac: [2, 0, 0, 0, 0, 1],
        sample,
        has_buffers: false,
    };
    let mut object = Object::load(OBJECT, &constants, None).expect("loading, which needs root");
    let program = object.program("flowgate").expect("the verifier takes it");
    let info = program.info().expect("the kernel tells of it");
    info.size_translated().expect("and of its size")
}

/// The kernel drops code behind a condition that read-only data decides.
#[test]
fn what_would_log_a_packet_is_not_even_loaded() {
    let (off, on) = (translated(0), translated(1_000));
    assert!(
        off + 200 < on,
        "{off} bytes without sampling, {on} bytes with it"
    );
    // How often it logs changes nothing.
    assert_eq!(translated(7), on);
}
