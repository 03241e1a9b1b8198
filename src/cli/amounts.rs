//! Times and rates as people write them: `90s`, `10m`, `2h`; `500k`, `20M`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use octobundle::bundle::VolumeSize;

/// A time, as in `10m` or `1h30m`; a bare number counts seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

/// Bytes a second, in decimal units as all sizes here; `MiB` and its like are binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate(pub(crate) u64);

/// The length of volumes: that of a medium, or bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Volume(pub(crate) VolumeSize);

/// Bytes, in the units of rates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

const SPAN_UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
/// Longer than anybody waits; keeps sums far from a clock's end.
const MOST_SECONDS: u64 = 30 * 86_400;

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{}` is no time; write it as in `90s`, `10m`, `2h` or `1h30m`", shown(text));
        if let Ok(seconds) = text.parse::<u64>() {
            return Self::of(seconds);
        }
        let (mut rest, mut seconds, mut units) = (text, 0_u64, &SPAN_UNITS[..]);
        while !rest.is_empty() {
            let end = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
            let count: u64 = rest[..end].parse().map_err(|_| bad())?;
            let place = units.iter().position(|(name, _)| rest[end..].starts_with(name)).ok_or_else(bad)?;
            seconds = count.checked_mul(units[place].1).and_then(|part| seconds.checked_add(part)).ok_or_else(bad)?;
            (rest, units) = (&rest[end + 1..], &units[place + 1..]);
        }
        if text.is_empty() { Err(bad()) } else { Self::of(seconds) }
    }
}

impl Span {
    fn of(seconds: u64) -> Result<Self, String> {
        if seconds > MOST_SECONDS {
            return Err("30 days (`30d`) are the most".into());
        }
        Ok(Self(Duration::from_secs(seconds)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.0.as_secs();
        if left == 0 {
            return f.write_str("0s");
        }
        for (name, unit) in SPAN_UNITS {
            if left >= unit {
                write!(f, "{}{name}", left / unit)?;
            }
            left %= unit;
        }
        Ok(())
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{}` is no rate; write bytes a second as in `500k`, `20M` or `8MiB`", shown(text));
        match bytes(text.trim_end_matches("/s")).ok_or_else(bad)? {
            0 => Err("a rate of 0 moves nothing; leave it out for no limit".into()),
            rate => Ok(Self(rate)),
        }
    }
}

impl FromStr for Volume {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let medium = match text {
            "fat32" => Some(VolumeSize::FAT32),
            "dvd" => Some(VolumeSize::DVD),
            "bd" => Some(VolumeSize::BD),
            "av" => Some(VolumeSize::AV),
            "diode" => Some(VolumeSize::DIODE),
            _ => None,
        };
        let bad = || {
            format!(
                "`{}` is no length of volumes; write `fat32`, `dvd`, `bd`, `av`, `diode`, or bytes as in `4G`, `700MiB`",
                shown(text)
            )
        };
        let size = match medium {
            Some(size) => size,
            None => VolumeSize::new(bytes(text).ok_or_else(bad)?).ok_or("volumes have at least 64KiB (65536 bytes)")?,
        };
        Ok(Self(size))
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{}` is no size; write it as in `500M`, `20GB` or `64GiB`", shown(text));
        bytes(text).map(Self).ok_or_else(bad)
    }
}

/// A number with a decimal or binary unit.
fn bytes(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let count: u64 = text[..end].parse().ok()?;
    let unit = match text[end..].trim_end_matches('B') {
        "" => 1,
        "k" | "K" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return None,
    };
    count.checked_mul(unit)
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("G", 1_000_000_000), ("M", 1_000_000), ("k", 1_000)];
        match units.iter().find(|(_, unit)| self.0.is_multiple_of(*unit)) {
            Some((name, unit)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{}", self.0),
        }
    }
}

fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_with_units() {
        for (text, seconds, shown) in [
            ("90s", 90, "1m30s"),
            ("10m", 600, "10m"),
            ("2h", 7_200, "2h"),
            ("1h30m", 5_400, "1h30m"),
            ("600", 600, "10m"),
            ("0", 0, "0s"),
            ("1d", 86_400, "1d"),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!((span.0.as_secs(), span.to_string().as_str()), (seconds, shown), "{text}");
        }
        for text in ["", "m", "10x", "1m2h", "1m1m", "-1s", "1.5h", "99999999999999999999", "10 m", "31d", "5ms", "1mé"]
        {
            assert!(text.parse::<Span>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn volumes_have_the_length_of_a_medium_or_so_many_bytes() {
        for (text, bytes) in [
            ("fat32", 4_294_967_295),
            ("dvd", 4_294_965_248),
            ("bd", 25_000_000_000),
            ("av", 2_039_480_320),
            ("diode", 1_073_741_824),
            ("4G", 4_000_000_000),
            ("700MiB", 734_003_200),
            ("65536", 65_536),
        ] {
            assert_eq!(text.parse::<Volume>().unwrap().0.bytes(), bytes, "{text}");
        }
        for text in ["", "FAT32", "fat", "0", "64k", "65535", "1.9G", "-1", "18446744073709551615G", "4G/s"] {
            assert!(text.parse::<Volume>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn rates_are_decimal_unless_they_say_otherwise() {
        for (text, bytes, shown) in [
            ("20M", 20_000_000, "20M"),
            ("500k", 500_000, "500k"),
            ("500KB/s", 500_000, "500k"),
            ("8MiB", 8_388_608, "8388608"),
            ("1234", 1_234, "1234"),
        ] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!((rate.0, rate.to_string().as_str()), (bytes, shown), "{text}");
        }
        for text in ["", "M", "0", "20X", "-1", "1.5M", "99999999999999999999", "18446744073709551615G"] {
            assert!(text.parse::<Rate>().is_err(), "{text:?}");
        }
    }
}
