//! What to make of a bundle that another run finished while this one waited to write it.

use crate::bundle::{Bundle, BundleError, BundleOutput, Form, Layout, Sealed};
use crate::failure::{ErrorClass, Failure, typed};
use crate::plan::Difference;
use crate::wording::count;

/// So many differences are told; the rest is counted.
const TOLD: usize = 5;

/// The bundle that stands under the output's name by now, if it is the very one that `layout` describes, in the form
/// that is wanted. Else an error says what differs.
pub(super) fn finished_meanwhile(output: &BundleOutput, layout: &Layout) -> Result<Sealed, Failure> {
    let there = Bundle::open(output.path.as_path())?;
    let differences = differences(&there, output, layout)?;
    if differences.is_empty() {
        return Ok(Sealed::standing(&there, output)?);
    }
    let more = differences.len().saturating_sub(TOLD);
    let more = if more == 0 { String::new() } else { format!("; and {more} more") };
    let told = differences.iter().take(TOLD).map(String::as_str).collect::<Vec<_>>().join("; ");
    let path = &output.path;
    let what = format!("another run finished `{}` meanwhile, and it is another bundle: {told}{more}", path.display());
    let help = format!("look at it: `octobundle inspect {}`; or name another file with `-o FILE`", typed(path));
    Err(Failure::new(ErrorClass::Usage, what).with_help(help))
}

/// What sets a bundle apart from the one that is wanted, a sentence each.
fn differences(there: &Bundle, output: &BundleOutput, layout: &Layout) -> Result<Vec<String>, BundleError> {
    let images = Difference::between(layout.lock(), there.lock());
    let added = images.added.iter().map(|name| format!("`{name}` is in it and was not asked for"));
    let removed = images.removed.iter().map(|name| format!("`{name}` is not in it"));
    let moved = images.moved.iter().map(|image| {
        format!("`{}` is {} in it and {} was asked for", image.name, image.to.short(), image.from.short())
    });
    let mut all: Vec<String> = added.chain(removed).chain(moved).collect();
    if layout.base() != there.layout().base() {
        let whole_or_delta = |layout: &Layout| match layout.base() {
            None => "complete".to_owned(),
            Some(base) => format!("a delta on `{}` without {}", base.name, count(base.left_out.len() as u64, "layer")),
        };
        all.push(format!("it is {}, and {} was asked for", whole_or_delta(there.layout()), whole_or_delta(layout)));
    }
    let lengths: Vec<u64> = there.bytes().pieces().iter().map(|piece| piece.length).collect();
    let one_file = there.bytes().volumes().is_empty();
    if one_file != (output.form == Form::OneFile) || lengths != output.form.lengths(there.layout().total())? {
        let cut = if one_file { "one file".to_owned() } else { format!("{} volumes", lengths.len()) };
        all.push(format!("it is {cut}, not {}", output.form));
    }
    if all.is_empty() && layout.id() != there.layout().id() {
        let (its, ours) = (there.layout().id(), layout.id());
        all.push(format!("the images are the same, but its checksums are {} and not {}", its.short(), ours.short()));
    }
    Ok(all)
}
