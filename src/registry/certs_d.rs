//! Certificates in the folders that docker and the containers tools read: `FOLDER/HOST[:PORT]/` with `*.crt` for
//! authorities and `*.cert` beside `*.key` for what is shown to that host (docker's "Verify repository client with
//! certificates", containers-certs.d(5)). An authority that stands there is believed for that host only.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::failure::{ErrorClass, Explain};
use crate::oci::Host;
use crate::registry::secret::Secret;
use crate::registry::settings::{ClientCertificate, TrustedCertificates};

/// A whole system store is a quarter of a megabyte.
const MAX_FILE: u64 = 4 * 1024 * 1024;
/// Real folders hold a handful of files.
const MAX_FILES: usize = 1_000;

/// What the folders hold for one host.
#[derive(Clone, Default)]
pub struct HostCertificates {
    /// Authorities for this host, from all folders.
    pub authorities: Vec<TrustedCertificates>,
    /// What is shown to this host: the first pair by folder and name.
    pub shown: Option<ClientCertificate>,
    /// Folders and files that this user may not read. Docker's are often for its daemon alone.
    pub unreadable: Vec<PathBuf>,
}

/// A folder that cannot be used as it is.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    /// Reading failed.
    #[error("failed to read `{}`", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// As the system says it.
        source: io::Error,
    },
    /// Larger than any certificate file.
    #[error("`{}` is larger than {MAX_FILE} bytes, which no certificate file is", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// One half of a pair.
    #[error("`{}` has no `{}` beside it", path.display(), missing.display())]
    HalfAPair {
        /// What is there.
        path: PathBuf,
        /// What is not.
        missing: PathBuf,
    },
}

impl Explain for CertsError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Read { .. } => ErrorClass::Disk,
            Self::TooLarge { .. } | Self::HalfAPair { .. } => ErrorClass::Input,
        }
    }

    fn help(&self) -> Option<String> {
        Some(match self {
            Self::Read { path, .. } => format!("look at it: `ls -l {}`", path.display()),
            Self::TooLarge { path } => format!("move `{}` out of this folder", path.display()),
            Self::HalfAPair { path, missing } => {
                format!(
                    "a client certificate needs both: put `{}` there, or move `{}` away",
                    missing.display(),
                    path.display()
                )
            }
        })
    }
}

impl HostCertificates {
    /// Reads what `folders` (each a `certs.d`) hold for `host`. Folders that are not there hold nothing.
    pub fn read(folders: &[PathBuf], host: &Host) -> Result<Self, CertsError> {
        let mut all = Self::default();
        // Docker Hub's folder may have the name in image names or that of the server.
        let names: BTreeSet<&str> = [host.as_str(), host.api()].into();
        for folder in folders.iter().flat_map(|folder| names.iter().map(|name| folder.join(name))) {
            all.add_folder(&folder)?;
        }
        Ok(all)
    }

    fn add_folder(&mut self, folder: &Path) -> Result<(), CertsError> {
        let Some(entries) = self.allowed(folder, fs::read_dir(folder))? else { return Ok(()) };
        let mut files = BTreeSet::new();
        for entry in entries.take(MAX_FILES) {
            files.insert(entry.map_err(|source| CertsError::Read { path: folder.into(), source })?.path());
        }
        for file in &files {
            match file.extension().and_then(|ending| ending.to_str()) {
                Some("crt") => self.add_authority(file)?,
                Some("cert") => self.add_pair(file, &files)?,
                Some("key") if !files.contains(&file.with_extension("cert")) => {
                    return Err(CertsError::HalfAPair { path: file.clone(), missing: file.with_extension("cert") });
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn add_authority(&mut self, file: &Path) -> Result<(), CertsError> {
        if let Some(pem) = self.content(file)? {
            self.authorities.push(TrustedCertificates { origin: file.into(), pem });
        }
        Ok(())
    }

    fn add_pair(&mut self, certificate: &Path, files: &BTreeSet<PathBuf>) -> Result<(), CertsError> {
        let key = certificate.with_extension("key");
        if !files.contains(&key) {
            return Err(CertsError::HalfAPair { path: certificate.into(), missing: key });
        }
        if self.shown.is_none()
            && let (Some(certificates), Some(key)) = (self.content(certificate)?, self.content(&key)?)
        {
            let key = Secret::new(String::from_utf8_lossy(&zeroize::Zeroizing::new(key)));
            self.shown = Some(ClientCertificate { origin: certificate.into(), certificates, key });
        }
        Ok(())
    }

    /// A file's content; none where this user may not read it.
    fn content(&mut self, path: &Path) -> Result<Option<Vec<u8>>, CertsError> {
        let mut content = Vec::new();
        let read = File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut content));
        let Some(length) = self.allowed(path, read)? else { return Ok(None) };
        if length as u64 > MAX_FILE {
            return Err(CertsError::TooLarge { path: path.into() });
        }
        Ok(Some(content))
    }

    fn allowed<T>(&mut self, path: &Path, outcome: io::Result<T>) -> Result<Option<T>, CertsError> {
        match outcome {
            Ok(value) => Ok(Some(value)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                self.unreadable.push(path.into());
                Ok(None)
            }
            Err(source) => Err(CertsError::Read { path: path.into(), source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, name).unwrap();
        }
        folder
    }

    fn read(files: &[&str], host: &str) -> Result<HostCertificates, CertsError> {
        HostCertificates::read(&[folder(files).path().to_owned()], &host.parse().unwrap())
    }

    #[test]
    fn a_folder_is_for_its_very_host_and_port() {
        let files = ["reg.corp:5000/ca.crt", "reg.corp:5000/x.cert", "reg.corp:5000/x.key", "reg.corp:5000/notes.txt"];
        let found = read(&files, "reg.corp:5000").unwrap();
        assert_eq!(found.authorities.len(), 1);
        assert_eq!(found.shown.unwrap().key.reveal(), "reg.corp:5000/x.key");
        for other in ["reg.corp", "reg.corp:5001", "a.reg.corp:5000"] {
            let found = read(&files, other).unwrap();
            assert!(found.authorities.is_empty() && found.shown.is_none(), "{other}");
        }
        assert_eq!(read(&["registry-1.docker.io/ca.crt"], "docker.io").unwrap().authorities.len(), 1);
    }

    #[test]
    fn half_a_pair_is_an_error_that_names_the_other_half() {
        for (files, missing) in [(["h/a.cert"], "a.key"), (["h/a.key"], "a.cert")] {
            let error = read(&files, "h").err().unwrap();
            assert!(error.to_string().contains(missing) && error.help().unwrap().contains(missing), "{error}");
        }
    }
}
