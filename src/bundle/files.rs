//! The files of a draft: one, or a file for each volume, under partial names.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::sync::Arc;

use crate::bundle::bytes::{BundleBytes, Piece};
use crate::bundle::description::{MOST_VOLUMES, volume_path};
use crate::bundle::error::BundleError;
use crate::bundle::form::Form;
use crate::bundle::journal::Began;
use crate::bundle::names::{journal_of, remove};
use crate::bundle::plain_file;

/// Opens the files of a draft. `first` is the one under the partial name itself: the bundle, or for volumes an empty
/// file that only one run at a time can lock.
pub(crate) fn open(first: &Arc<File>, partial: &Path, form: Form, lengths: &[u64]) -> Result<BundleBytes, BundleError> {
    if form == Form::OneFile {
        let piece = Piece::new(partial.to_owned(), first.clone(), lengths[0]);
        return Ok(BundleBytes::joined(partial.to_owned(), vec![piece], false));
    }
    let mut pieces = Vec::new();
    for (index, length) in lengths.iter().enumerate() {
        let path = form.path(partial, index);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = plain_file::open(&mut options, "open", &path)?;
        pieces.push(Piece::new(path, Arc::new(file), *length));
    }
    Ok(BundleBytes::joined(partial.to_owned(), pieces, true))
}

/// Opens what an earlier run left, for reading. None if not all of it is there.
pub(crate) fn reopen(partial: &Path, began: Began) -> Result<Option<BundleBytes>, BundleError> {
    let lengths = began.form.lengths(began.length)?;
    let mut pieces = Vec::new();
    for index in 0..lengths.len() {
        let path = began.form.path(partial, index);
        if !path.symlink_metadata().is_ok_and(|metadata| metadata.is_file()) {
            return Ok(None);
        }
        pieces.push(Piece::open(&path)?);
    }
    let whole = pieces.iter().map(|piece| piece.length).eq(lengths);
    Ok(whole.then(|| BundleBytes::joined(partial.to_owned(), pieces, began.form != Form::OneFile)))
}

/// Takes away the volumes under a partial name, the last one first, so that a run that is killed meanwhile leaves no
/// gap before any.
pub(crate) fn remove_volumes(partial: &Path) -> Result<(), BundleError> {
    let most = usize::try_from(MOST_VOLUMES).expect("it is small");
    let volume = |number| volume_path(partial, number);
    let there = (1..=most).take_while(|number| volume(*number).symlink_metadata().is_ok()).count();
    (1..=there).rev().try_for_each(|number| remove(&volume(number)))
}

/// Takes away all that a run for other images left.
pub(crate) fn remove_all(partial: &Path) -> Result<(), BundleError> {
    remove_volumes(partial)?;
    remove(partial)?;
    remove(&journal_of(partial))
}
