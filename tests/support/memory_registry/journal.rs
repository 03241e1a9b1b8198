//! The record of requests.

use std::sync::atomic::{AtomicU16, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use http::HeaderMap;
use http::request::Parts;

/// A request as it was received and answered.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Without the query.
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    /// Zero as long as there is no answer.
    pub(crate) status: u16,
    /// Bytes of its body that arrived.
    pub(crate) bytes_received: u64,
    /// Bytes of the answer's body that were handed to the connection.
    pub(crate) bytes_sent: u64,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(crate) fn range(&self) -> Option<&str> {
        self.header("range")
    }

    pub(crate) fn authorized(&self) -> bool {
        self.headers.contains_key("authorization")
    }

    /// Whether it asked for the bytes of a blob and was given some.
    pub(crate) fn reads_blob(&self) -> bool {
        let answered = self.status == 200 || self.status == 206;
        self.method == "GET" && answered && self.path.contains("/blobs/") && !self.is_upload()
    }

    pub(crate) fn is_upload(&self) -> bool {
        self.path.contains("/blobs/uploads/")
    }
}

#[derive(Default)]
pub(super) struct Journal {
    entries: Mutex<Vec<Arc<Entry>>>,
    transfers: Arc<Transfers>,
}

/// A request that may still be under way.
pub(super) struct Entry {
    pub(super) request: Request,
    status: AtomicU16,
    pub(super) received: AtomicU64,
    pub(super) sent: AtomicU64,
}

impl Entry {
    pub(super) fn answered(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    fn snapshot(&self) -> Request {
        Request {
            status: self.status.load(Ordering::SeqCst),
            bytes_received: self.received.load(Ordering::SeqCst),
            bytes_sent: self.sent.load(Ordering::SeqCst),
            ..self.request.clone()
        }
    }
}

impl Journal {
    pub(super) fn begin(&self, parts: &Parts) -> Arc<Entry> {
        let request = Request {
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            headers: parts.headers.clone(),
            status: 0,
            bytes_received: 0,
            bytes_sent: 0,
        };
        let (status, received, sent) = (AtomicU16::new(0), AtomicU64::new(0), AtomicU64::new(0));
        let entry = Arc::new(Entry { request, status, received, sent });
        self.entries.lock().expect("the record is never held across a panic").push(Arc::clone(&entry));
        entry
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        let entries = self.entries.lock().expect("the record is never held across a panic");
        entries.iter().map(|entry| entry.snapshot()).collect()
    }

    pub(super) fn clear(&self) {
        self.entries.lock().expect("the record is never held across a panic").clear();
        self.transfers.most.store(0, Ordering::SeqCst);
    }

    pub(super) fn transfer(&self) -> Transfer {
        let now = self.transfers.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.transfers.most.fetch_max(now, Ordering::SeqCst);
        Transfer(Arc::clone(&self.transfers))
    }

    pub(super) fn most_transfers_at_once(&self) -> usize {
        self.transfers.most.load(Ordering::SeqCst)
    }
}

#[derive(Default)]
struct Transfers {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// A blob's body on its way; counted until dropped.
pub(super) struct Transfer(Arc<Transfers>);

impl Drop for Transfer {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}
