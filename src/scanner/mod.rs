//! Edge: a scanner for viruses, or another program that looks at a file and answers by its exit code.
//!
//! The contract: the command is split into words as a shell does, and run without one. Where a word contains `{}`, that
//! stands for the path of a file that only its owner can read; without one the content is the standard input. Exit code
//! 0 means clean, 1 found, any other that it failed: what `ClamAV` and its like do.

mod error;
mod reach;
mod record;

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::Path;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use tempfile::{NamedTempFile, TempDir};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;
use tokio::runtime::Handle;

pub use error::ScannerError;
pub use record::{Each, Looked, SCAN_SCHEMA, ScanRecord, ScannedLayer, Verdict};

use reach::Reach;

/// What of a scanner's words is kept, for each of its two streams.
const MAX_WORDS: u64 = 4 * 1024;
/// `ClamAV`'s programs. They read their standard input only when told so by `-`, and else look at the folder that they are
/// started in; and what is larger than their limits they call clean without having looked.
const CLAMAV: [&str; 2] = ["clamscan", "clamdscan"];
/// What they say of such a file if they are told to (`--alert-exceeds-max`, `AlertExceedsMax`).
const BEYOND_LIMITS: &str = "Heuristics.Limits.Exceeded";
/// The test file that every virus scanner knows (eicar.org), backwards, so that none takes this program for it.
const TEST_FILE_BACKWARDS: &str = r"*H+H$!ELIF-TSET-SURIVITNA-DRADNATS-RACIE$}7)CC7)^P(45XZP\4[PA@%P!O5X";

/// A scanner's command, and the folder that is its own.
pub struct Scanner {
    words: Vec<String>,
    folder: TempDir,
    timeout: Duration,
    runtime: Handle,
    is_clamav: bool,
    /// How large files may be for it, once it was asked about the test file.
    reach: Mutex<Option<Reach>>,
}

impl Scanner {
    /// Reads a command. Each thing to be looked at may take `timeout`.
    pub fn new(command: &str, timeout: Duration, runtime: Handle) -> Result<Self, ScannerError> {
        let mut words = shlex::split(command).ok_or_else(|| ScannerError::Command(command.to_owned()))?;
        let program = words.first().ok_or_else(|| ScannerError::Command(command.to_owned()))?;
        let name = Path::new(program).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let told = words.iter().any(|word| word == "-" || word.contains("{}"));
        let is_clamav = CLAMAV.contains(&name.as_str());
        if is_clamav && !told {
            words.push("-".to_owned());
        }
        // Mode 0700, its own, and empty but for what is being looked at.
        let folder = tempfile::Builder::new().prefix("octobundle-scan-").tempdir().map_err(ScannerError::Folder)?;
        Ok(Self { words, folder, timeout, runtime, is_clamav, reach: Mutex::new(None) })
    }

    /// The command as it is run.
    pub fn command(&self) -> &[String] {
        &self.words
    }

    /// Has it look at the test file that it must object to: one that does not see what it is given finds nothing in
    /// anything.
    pub fn prove(&self) -> Result<(), ScannerError> {
        let looked = self.look(&mut test_file().as_bytes())?;
        match looked.verdict {
            Verdict::Found => {
                *self.reach.lock().expect("no holder of it panics") = self.is_clamav.then(Reach::default);
                Ok(())
            }
            Verdict::Clean | Verdict::Failed => Err(ScannerError::Blind { answer: looked.answer() }),
        }
    }

    /// Has it look at some content. Only failing to start it, or to give it the content, is an error.
    ///
    /// Not to be called on a thread of the runtime itself.
    pub fn look(&self, content: &mut dyn Read) -> Result<Looked, ScannerError> {
        let mut file = NamedTempFile::new_in(self.folder.path()).map_err(ScannerError::Folder)?;
        let bytes = io::copy(content, &mut file).map_err(ScannerError::Content)?;
        if !self.reaches(bytes)? {
            let why =
                "it does not object to the test file behind as many bytes: files of this size are beyond its limits";
            return Ok(Looked { bytes, ..Looked::failed(None, why.to_owned()) });
        }
        Ok(Looked { bytes, ..self.look_at(&file)? })
    }

    fn look_at(&self, file: &NamedTempFile) -> Result<Looked, ScannerError> {
        let input = file.reopen().map_err(ScannerError::Folder)?;
        let looked = self.runtime.block_on(self.run(file.path(), input.into()))?;
        let not_looked_at = self.is_clamav && looked.verdict == Verdict::Found && looked.said.contains(BEYOND_LIMITS);
        Ok(if not_looked_at { Looked { verdict: Verdict::Failed, ..looked } } else { looked })
    }

    /// Whether it looks at files of this size, where that has to be asked.
    fn reaches(&self, size: u64) -> Result<bool, ScannerError> {
        let mut reach = self.reach.lock().expect("no holder of it panics");
        let Some(reach) = reach.as_mut() else { return Ok(true) };
        reach.covers(size, |size| {
            let file = NamedTempFile::new_in(self.folder.path()).map_err(ScannerError::Folder)?;
            reach::write_test(file.as_file(), size, test_file().as_bytes()).map_err(ScannerError::Folder)?;
            Ok(self.look_at(&file)?.verdict == Verdict::Found)
        })
    }

    async fn run(&self, path: &Path, input: Stdio) -> Result<Looked, ScannerError> {
        let by_path = self.words.iter().any(|word| word.contains("{}"));
        let words: Vec<OsString> = self.words.iter().map(|word| filled(word, path)).collect();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(if by_path { Stdio::null() } else { input });
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let start = |error| ScannerError::Start { program: self.words[0].clone(), error };
        let mut child = command.spawn().map_err(start)?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let ended = tokio::time::timeout(self.timeout, async {
            let (out, err, status) = tokio::join!(first_words(out), first_words(err), child.wait());
            (out + &err, status)
        });
        let seconds = self.timeout.as_secs();
        Ok(match ended.await {
            Err(_) => Looked::failed(None, format!("it did not answer within {seconds} s")),
            Ok((_, Err(error))) => Looked::failed(None, error.to_string()),
            Ok((words, Ok(status))) => Looked::ended(status.code(), words.replace(&*path.to_string_lossy(), "{}")),
        })
    }
}

fn test_file() -> String {
    TEST_FILE_BACKWARDS.chars().rev().collect()
}

fn filled(word: &str, path: &Path) -> OsString {
    let mut filled = OsString::new();
    for (place, piece) in word.split("{}").enumerate() {
        if place > 0 {
            filled.push(path);
        }
        filled.push(piece);
    }
    filled
}

/// The beginning of what a program says. The rest is read and forgotten, so that it can go on.
async fn first_words(stream: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut stream) = stream else { return String::new() };
    let mut words = Vec::new();
    // What cannot be read was not said.
    drop((&mut stream).take(MAX_WORDS).read_to_end(&mut words).await);
    drop(tokio::io::copy(&mut stream, &mut tokio::io::sink()).await);
    String::from_utf8_lossy(&words).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanner(command: &str, runtime: &tokio::runtime::Runtime) -> Scanner {
        Scanner::new(command, Duration::from_secs(600), runtime.handle().clone()).unwrap()
    }

    #[test]
    #[cfg(unix)] // programs of Unix stand in for the scanner
    fn content_comes_by_standard_input_or_by_path_and_nothing_stays() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        for command in ["grep -q virus", "grep -q virus {}", "sh -c 'grep -q virus \"$1\"' sh {}"] {
            // grep says 0 where it finds: turned round.
            let scanner = scanner(command, &runtime);
            let hit = scanner.look(&mut &b"a virus"[..]).unwrap();
            let miss = scanner.look(&mut &b"nothing"[..]).unwrap();
            assert_eq!((hit.exit_code, miss.exit_code, hit.bytes), (Some(0), Some(1), 7), "{command}");
            assert_eq!(std::fs::read_dir(scanner.folder.path()).unwrap().count(), 0);
        }
    }

    #[test]
    #[cfg(unix)] // programs of Unix stand in for the scanner
    fn answers_are_those_of_clamav() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        for (command, verdict) in [
            ("true", Verdict::Clean),
            ("sh -c 'exit 1'", Verdict::Found),
            ("sh -c 'echo why; exit 2'", Verdict::Failed),
        ] {
            let looked = scanner(command, &runtime).look(&mut &b"x"[..]).unwrap();
            assert_eq!(looked.verdict, verdict, "{command}");
        }
        let killed = scanner("sh -c 'kill -9 $$'", &runtime).look(&mut &b"x"[..]).unwrap();
        assert_eq!((killed.verdict, killed.exit_code), (Verdict::Failed, None));
        let mute = Scanner::new("sleep 600", Duration::from_millis(10), runtime.handle().clone()).unwrap();
        assert!(mute.look(&mut &b"x"[..]).unwrap().answer().contains("did not answer"));
        let missing = scanner("octobundle-no-such-scanner", &runtime).look(&mut &b"x"[..]).unwrap_err();
        assert!(matches!(missing, ScannerError::Start { .. }), "{missing}");
    }

    #[test]
    #[cfg(unix)] // programs of Unix stand in for the scanner
    fn a_scanner_that_does_not_look_is_found_out() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        assert!(matches!(scanner("true", &runtime).prove(), Err(ScannerError::Blind { .. })));
        assert!(scanner("sh -c '! grep -q EICAR-STANDARD'", &runtime).prove().is_ok());
    }

    #[test]
    fn clamav_is_told_to_read_what_it_is_given() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        assert_eq!(scanner("/usr/bin/clamdscan --stream", &runtime).command(), ["/usr/bin/clamdscan", "--stream", "-"]);
        assert_eq!(scanner("clamscan {}", &runtime).command(), ["clamscan", "{}"]);
        assert_eq!(scanner("clamscan -", &runtime).command(), ["clamscan", "-"]);
        let unclosed = Scanner::new("scan 'open", Duration::from_secs(1), runtime.handle().clone());
        assert!(matches!(unclosed, Err(ScannerError::Command(_))));
    }
}
