//! Builds the programs that the benchmarks measure and measure with.

fn main() {
    for (bin, object) in [
        ("flowgate-bench-xdp", "flowgate-bench.o"),
        ("flowgate-path-xdp", "flowgate-path.o"),
    ] {
        lb_ebpf_build::build_script(env!("CARGO_MANIFEST_DIR"), bin, object);
    }
}
