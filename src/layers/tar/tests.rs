use super::*;
use crate::layers::Limits;

fn header(kind: u8, name: &[u8], size: u64) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.as_mut_bytes()[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_mode(0o644);
    header.set_size(size);
    header.set_cksum();
    header.as_bytes().to_vec()
}

fn entry(kind: u8, name: &[u8], content: &[u8]) -> Vec<u8> {
    let mut bytes = header(kind, name, content.len() as u64);
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

fn record(key: &str, value: &str) -> Vec<u8> {
    let length = |digits: usize| digits + key.len() + value.len() + 3;
    let digits = (1..5).find(|&digits| length(digits).to_string().len() == digits).unwrap();
    format!("{} {key}={value}\n", length(digits)).into_bytes()
}

fn read(archive: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, LayerError> {
    let mut seen = Vec::new();
    walk(archive, &Meter::new(Limits::default()), &mut |entry, content| {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).map_err(LayerError::from_io)?;
        seen.push((entry.clone(), bytes));
        Ok(())
    })?;
    Ok(seen)
}

fn paths(archive: &[u8]) -> Vec<String> {
    read(archive).unwrap().into_iter().map(|(entry, _)| entry.path).collect()
}

#[test]
fn entries_are_read_whatever_form_their_names_have() {
    let long = "d/".repeat(80) + "file";
    let archives = [
        [entry(b'L', b"././@LongLink", format!("{long}\0").as_bytes()), entry(b'0', b"cut", b"content")].concat(),
        [entry(b'x', b"pax", &record("path", &long)), entry(b'0', b"cut", b"content")].concat(),
        entry(b'0', b"./a//b/./c", b"content"),
        entry(0, b"/a/b/c", b"content"),
    ];
    for (archive, path) in archives.iter().zip([&*long, &long, "a/b/c", "a/b/c"]) {
        let seen = read(archive).unwrap();
        let expected = Entry { path: path.to_owned(), kind: Kind::File, size: 7 };
        assert_eq!(seen, [(expected, b"content".to_vec())]);
    }
}

#[test]
fn content_that_is_left_is_passed_over() {
    let archive = [entry(b'0', b"one", &[1; 1000]), entry(b'5', b"two/", b""), entry(b'0', b"three", b"3")].concat();
    let mut seen = Vec::new();
    walk(&archive[..], &Meter::new(Limits::default()), &mut |entry, _| {
        seen.push((entry.path.clone(), entry.kind.clone()));
        Ok(())
    })
    .unwrap();
    assert_eq!(seen, [("one".into(), Kind::File), ("two".into(), Kind::Directory), ("three".into(), Kind::File)]);
}

#[test]
fn an_archive_ends_at_an_empty_block_or_at_its_end() {
    let one = entry(b'0', b"one", b"1");
    assert_eq!(paths(&one), ["one"]);
    assert_eq!(paths(&[one.clone(), vec![0; 1024], one.clone()].concat()), ["one"]);
    assert_eq!(paths(b""), [""; 0]);
}

#[test]
fn links_and_sizes_that_say_nothing_are_read_as_go_reads_them() {
    // A hard link and a folder with a size have no content all the same.
    let archive = [header(b'1', b"link", 700), header(b'5', b"folder", 900), entry(b'0', b"file", b"x")].concat();
    assert_eq!(paths(&archive), ["link", "folder", "file"]);
    let sized =
        [entry(b'x', b"pax", &record("size", "3")), header(b'0', b"file", 0), b"abc".to_vec(), vec![0; 509]].concat();
    assert_eq!(read(&sized).unwrap()[0].1, b"abc");
}

#[test]
fn sec_45_archives_that_lie_end_with_an_error() {
    let two_sizes = [entry(b'x', b"pax", &record("size", "512")), entry(b'0', b"file", b"abc")].concat();
    let mut turned = entry(b'0', b"one", b"1");
    turned[0] ^= 1;
    let cases: [(&str, Vec<u8>); 9] = [
        ("two sizes", two_sizes),
        ("checksum", turned),
        ("inside of a header", entry(b'0', b"one", b"1")[..100].to_vec()),
        ("inside of a file", entry(b'0', b"one", &[7; 600])[..600].to_vec()),
        ("leads out", entry(b'0', b"a/../../etc/passwd", b"1")),
        ("bytes long", [entry(b'x', b"pax", &record("path", &"a".repeat(5_000))), entry(b'0', b"x", b"")].concat()),
        // Whoever believes it asks for 8 GiB of memory.
        ("bytes long", header(b'L', b"././@LongLink", 8 << 30)),
        ("pax header", entry(b'x', b"pax", b"99 path=short\n")),
        ("pax header", entry(b'x', b"pax", b"0 path=short\n")),
    ];
    for (words, archive) in cases {
        let error = read(&archive).unwrap_err();
        assert!(error.to_string().contains(words), "{words}: {error}");
    }
}

#[test]
fn files_with_holes_are_passed_over() {
    let mut sparse = header(b'S', b"sparse", 512);
    sparse[482] = 1;
    let sum: u32 =
        sparse.iter().enumerate().map(|(at, &byte)| if (148..156).contains(&at) { 32 } else { u32::from(byte) }).sum();
    sparse[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let archive = [sparse, vec![0; 512], vec![9; 512], entry(b'0', b"next", b"x")].concat();
    let seen = read(&archive).unwrap();
    assert_eq!((seen[0].0.kind.clone(), &*seen[1].0.path), (Kind::Other, "next"));
}
