//! What the registry holds.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde_json::Value;

use super::super::images::{Content, Document, digest};

/// A name or digest within a repository.
type Key = (String, String);

#[derive(Default)]
pub(super) struct Stored {
    bytes: BTreeMap<String, Bytes>,
    /// Which repositories have which blobs.
    linked: BTreeSet<Key>,
    documents: BTreeMap<Key, Document>,
    tags: BTreeMap<Key, String>,
    uploads: BTreeMap<Key, Vec<u8>>,
    last_upload: u64,
}

fn key(repository: &str, name: &str) -> Key {
    (repository.to_owned(), name.to_owned())
}

impl Stored {
    pub(super) fn add(&mut self, content: Content) {
        self.tags.insert(key(&content.repository, &content.tag), content.root().digest.clone());
        for (digest, bytes) in content.blobs {
            self.put_blob(&content.repository, &digest, bytes.into());
        }
        for document in content.documents {
            self.documents.insert(key(&content.repository, &document.digest), document);
        }
    }

    pub(super) fn put_blob(&mut self, repository: &str, digest: &str, bytes: Bytes) {
        self.bytes.insert(digest.to_owned(), bytes);
        self.linked.insert(key(repository, digest));
    }

    pub(super) fn blob(&self, repository: &str, digest: &str) -> Option<Bytes> {
        let linked = self.linked.contains(&key(repository, digest));
        linked.then(|| self.bytes.get(digest).cloned()).flatten()
    }

    /// Makes a blob of `from` one of `repository` too; says whether there was one.
    pub(super) fn mount(&mut self, repository: &str, from: &str, digest: &str) -> bool {
        let there = self.blob(from, digest).is_some();
        if there {
            self.linked.insert(key(repository, digest));
        }
        there
    }

    pub(super) fn replace_blob(&mut self, digest: &str, bytes: &[u8]) {
        self.bytes.insert(digest.to_owned(), Bytes::copy_from_slice(bytes));
    }

    pub(super) fn remove_blob(&mut self, digest: &str) {
        self.bytes.remove(digest);
    }

    pub(super) fn blobs(&self) -> BTreeSet<String> {
        self.bytes.keys().cloned().collect()
    }

    pub(super) fn document(&self, repository: &str, reference: &str) -> Option<&Document> {
        let digest = self.tags.get(&key(repository, reference)).map_or(reference, String::as_str);
        self.documents.get(&key(repository, digest))
    }

    pub(super) fn put_document(&mut self, repository: &str, reference: &str, document: Document) {
        if reference != document.digest {
            self.tags.insert(key(repository, reference), document.digest.clone());
        }
        self.documents.insert(key(repository, &document.digest), document);
    }

    /// Unlike a `PUT`, checks nothing: bytes under a digest that is not theirs stay there.
    pub(super) fn replace_document(&mut self, repository: &str, reference: &str, media_type: &str, bytes: &[u8]) {
        let named = if reference.contains(':') { reference.to_owned() } else { digest(bytes) };
        let document = Document { media_type: media_type.to_owned(), digest: named, bytes: bytes.to_vec() };
        self.put_document(repository, reference, document);
    }

    /// Which blobs and documents an uploaded document names that this repository does not have.
    pub(super) fn missing(&self, repository: &str, document: &Value) -> Vec<String> {
        let digest_of = |descriptor: &Value| descriptor["digest"].as_str().unwrap_or_default().to_owned();
        let entries = |name: &str| document[name].as_array().cloned().unwrap_or_default();
        let config = document.get("config").into_iter().cloned();
        let blobs = config.chain(entries("layers")).map(|entry| digest_of(&entry));
        let children = entries("manifests");
        let children = children.iter().map(digest_of);
        let mut missing: Vec<_> = blobs.filter(|digest| self.blob(repository, digest).is_none()).collect();
        missing.extend(children.filter(|digest| !self.documents.contains_key(&key(repository, digest))));
        missing
    }

    pub(super) fn tags(&self, repository: &str) -> Vec<String> {
        self.tags.keys().filter(|(of, _)| of == repository).map(|(_, tag)| tag.clone()).collect()
    }

    /// Names of repositories that have a tag, sorted.
    pub(super) fn repositories(&self) -> std::collections::BTreeSet<String> {
        self.tags.keys().map(|(of, _)| of.clone()).collect()
    }

    /// Opens an upload and returns its id.
    pub(super) fn begin_upload(&mut self, repository: &str) -> String {
        self.last_upload += 1;
        let id = format!("upload-{}", self.last_upload);
        self.uploads.insert(key(repository, &id), Vec::new());
        id
    }

    pub(super) fn upload(&mut self, repository: &str, id: &str) -> Option<&mut Vec<u8>> {
        self.uploads.get_mut(&key(repository, id))
    }

    pub(super) fn end_upload(&mut self, repository: &str, id: &str) -> Option<Vec<u8>> {
        self.uploads.remove(&key(repository, id))
    }
}
