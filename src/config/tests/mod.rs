//! Tests of the module as a whole: what a file says, what is wrong with it, and what is written back.

mod arbitrary;
mod arbitrary_cluster;
mod full;
mod load;
mod problems;
mod refused;
mod refused_cluster;
mod refused_routes;
mod roundtrip;
mod sections;
