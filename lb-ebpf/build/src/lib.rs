//! Finds an eBPF toolchain and builds the XDP program with it.
