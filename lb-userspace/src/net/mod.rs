//! What the kernel knows about links, addresses, routes and neighbours.
