//! Builds the programs that the benchmark measures.

fn main() {
    lb_ebpf_build::build_script(
        env!("CARGO_MANIFEST_DIR"),
        "flowgate-bench-xdp",
        "flowgate-bench.o",
    );
}
