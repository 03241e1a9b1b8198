//! Where the bytes are: a bar an image, its layers side by side, those of several images in one colour everywhere.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::oci::Digest;
use crate::report::{ImageFacts, LayerFacts, Report};
use crate::wording::size;

/// Colours that the style sheet has for shared layers; further layers begin again with the first.
const COLOURS: usize = 8;
/// Thinner segments, in thousandths of a percent, have no room for a letter.
const LETTER_WIDTH: u128 = 5_000;
/// More segments in a bar than this become one: a browser draws them all, an eye does not tell them apart.
const MOST_SEGMENTS: usize = 60;

/// All bars, on one scale: the largest image is as wide as the picture.
#[derive(Serialize)]
pub(super) struct Picture {
    pub(super) bars: Vec<Bar>,
    pub(super) shared: Vec<Shared>,
}

/// One image.
#[derive(Serialize)]
pub(super) struct Bar {
    name: String,
    size: String,
    own: String,
    segments: Vec<Segment>,
}

/// One layer, or what is left of many.
#[derive(Serialize)]
struct Segment {
    /// Left edge and width in percent.
    x: String,
    width: String,
    middle: String,
    class: String,
    letter: String,
    about: String,
}

/// A layer of several images.
#[derive(Serialize)]
pub(super) struct Shared {
    letter: String,
    class: String,
    digest: Digest,
    size: String,
    images: Vec<String>,
}

/// Draws a report's layers.
pub(super) fn picture(report: &Report) -> Picture {
    let shared: Vec<&LayerFacts> = report.layers.iter().filter(|layer| layer.images.len() > 1).collect();
    let places: BTreeMap<Digest, usize> =
        shared.iter().enumerate().map(|(place, layer)| (layer.digest, place)).collect();
    let sizes: BTreeMap<Digest, u64> = report.layers.iter().map(|layer| (layer.digest, layer.bytes)).collect();
    let widest = report.images.iter().map(|image| image.bytes).max().unwrap_or_default();
    let painter = Painter { places, sizes, widest };
    Picture {
        bars: report.images.iter().map(|image| painter.bar(image)).collect(),
        shared: shared.iter().enumerate().map(|(place, layer)| key(place, layer)).collect(),
    }
}

fn key(place: usize, layer: &LayerFacts) -> Shared {
    Shared {
        letter: letter(place),
        class: colour(place),
        digest: layer.digest,
        size: size(layer.bytes),
        images: layer.images.clone(),
    }
}

struct Painter {
    places: BTreeMap<Digest, usize>,
    sizes: BTreeMap<Digest, u64>,
    widest: u64,
}

impl Painter {
    fn bar(&self, image: &ImageFacts) -> Bar {
        let digests: BTreeSet<Digest> =
            image.platforms.iter().flat_map(|platform| platform.layers.iter().copied()).collect();
        let mut layers: Vec<(Option<usize>, u64, Digest)> = digests
            .into_iter()
            .filter_map(|digest| Some((self.places.get(&digest).copied(), *self.sizes.get(&digest)?, digest)))
            .collect();
        // Shared ones first and in one order, so that equal layers stand near each other in neighbouring bars.
        layers.sort_by_key(|(place, bytes, digest)| (place.unwrap_or(usize::MAX), std::cmp::Reverse(*bytes), *digest));
        let rest: u64 = layers.iter().skip(MOST_SEGMENTS).map(|(_, bytes, _)| bytes).sum();
        let mut at = 0;
        let mut segments: Vec<Segment> = layers
            .iter()
            .take(MOST_SEGMENTS)
            .map(|(place, bytes, digest)| {
                let about = match place {
                    Some(place) => format!("{} (shared, {})", size(*bytes), letter(*place)),
                    None => format!("{} (only here)", size(*bytes)),
                };
                let segment = self.segment(at, *bytes, *place, format!("{}: {about}", digest.short()));
                at += bytes;
                segment
            })
            .collect();
        if rest > 0 {
            segments.push(self.segment(at, rest, None, format!("further layers: {}", size(rest))));
        }
        Bar { name: image.name.clone(), size: size(image.bytes), own: size(image.own_bytes), segments }
    }

    fn segment(&self, at: u64, bytes: u64, place: Option<usize>, about: String) -> Segment {
        let (x, width) = (self.share(at), self.share(bytes));
        Segment {
            x: percent(x),
            width: percent(width),
            middle: percent(x + width / 2),
            class: place.map_or("own".to_owned(), colour),
            letter: place.filter(|_| width >= LETTER_WIDTH).map(letter).unwrap_or_default(),
            about,
        }
    }

    /// Of the widest bar, in thousandths of a percent.
    fn share(&self, bytes: u64) -> u128 {
        u128::from(bytes) * 100_000 / u128::from(self.widest.max(1))
    }
}

fn percent(thousandths: u128) -> String {
    format!("{}.{:03}%", thousandths / 1000, thousandths % 1000)
}

fn colour(place: usize) -> String {
    format!("c{}", place % COLOURS)
}

/// A to Z, then numbers.
fn letter(place: usize) -> String {
    match u8::try_from(place) {
        Ok(place) if place < 26 => char::from(b'A' + place).to_string(),
        _ => (place + 1).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_the_widest_bar_add_up_and_do_not_overflow() {
        let painter = Painter { places: BTreeMap::new(), sizes: BTreeMap::new(), widest: 1 << 44 };
        assert_eq!(percent(painter.share(1 << 43)), "50.000%");
        assert_eq!(percent(painter.share(1 << 44)), "100.000%");
        let empty = Painter { places: BTreeMap::new(), sizes: BTreeMap::new(), widest: 0 };
        assert_eq!(percent(empty.share(0)), "0.000%");
    }

    #[test]
    fn layers_beyond_the_alphabet_have_numbers() {
        assert_eq!([letter(0), letter(25), letter(26)], ["A", "Z", "27"]);
    }
}
