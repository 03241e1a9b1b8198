//! The list of faults, one test or more for each: the name begins with the fault's id. `docs/faults.md` is made from
//! these names.

#[path = "../support/mod.rs"]
mod support;

mod kit;

mod d;
mod h;
mod n;
