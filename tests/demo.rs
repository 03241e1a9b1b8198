//! What the README promises a newcomer works.

#[path = "../examples/demo.rs"]
mod demo;

#[test]
fn the_demonstration_runs_to_its_end() {
    demo::main();
}
