//! The words for whoever finds the file.

use std::fmt::Write as _;

use crate::bundle::layout::Contents;
use crate::images::{Base, BaseKind, Lock, LockedImage};

/// The text of `README.txt`.
pub(crate) fn readme(contents: &Contents) -> String {
    match &contents.base {
        None => complete(&contents.lock),
        Some(base) => delta(&contents.lock, base),
    }
}

fn complete(lock: &Lock) -> String {
    format!(
        "\
{title}

This tar holds the container images of {release}. It was made by octobundle.

Images:
{names}
With octobundle (FILE is this tar):
  octobundle verify FILE
  octobundle push FILE --registry HOST:PORT/PATH
  octobundle load FILE

Without it:
  mkdir FOLDER && tar -xf FILE -C FOLDER && cd FOLDER && sha256sum -c SHA256SUMS
  docker load -i FILE
  podman load -i FILE
  skopeo copy oci-archive:FILE:NAME docker://HOST:PORT/PATH:TAG
",
        title = lock.title,
        release = lock.release,
        names = names(lock, |_| ""),
    )
}

fn delta(lock: &Lock, base: &Base) -> String {
    let whose = match base.kind {
        BaseKind::Release => "the release",
        BaseKind::Registry => "the registry",
    };
    format!(
        "\
{title}

This tar is a delta: it holds what is new in the container images of {release}, and not the {count} layers
that {whose} {base} has. It was made by octobundle, and octobundle is needed to use it.

Images (* not whole without the older layers):
{names}
FILE is this tar, OLD is a bundle with the older layers:
  octobundle verify FILE --base OLD
  octobundle push FILE --registry HOST:PORT/PATH
  octobundle push FILE --registry HOST:PORT/PATH --base OLD
  octobundle load FILE --base OLD

Other programs see only the images without *. The parts that are here can be checked without octobundle:
  mkdir FOLDER && tar -xf FILE -C FOLDER && cd FOLDER && sha256sum -c SHA256SUMS
",
        title = lock.title,
        release = lock.release,
        count = base.left_out.len(),
        base = base.name,
        names = names(lock, |image| if base.cuts(image) { " *" } else { "" }),
    )
}

fn names(lock: &Lock, mark: impl Fn(&LockedImage) -> &'static str) -> String {
    let mut names = String::new();
    for image in &lock.images {
        writeln!(names, "  {}{}", image.name, mark(image)).expect("a String takes any text");
    }
    names
}
