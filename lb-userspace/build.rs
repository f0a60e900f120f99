//! Builds the XDP program, so that the binary carries it and its users need no
//! eBPF toolchain.

fn main() {
    lb_ebpf_build::build_script(env!("CARGO_MANIFEST_DIR"), "flowgate-xdp", "flowgate.o");
}
