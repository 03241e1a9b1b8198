//! Why something stopped, in a form that the command line can show and turn into an exit code.
//!
//! Edge modules have their own error enums. Each says its class and its next step through [`Explain`]; whoever
//! crosses a module's border carries a [`Failure`].

use std::error::Error;
use std::fmt;
use std::path::Path;

/// What kind of thing went wrong; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// A fault of the tool, or one that has no better class.
    Other,
    /// The command line asks for something that cannot be.
    Usage,
    /// The manifest, a configuration file or a lock is not sound.
    Input,
    /// A login is missing or refused.
    Access,
    /// The network, a proxy or a server did not deliver.
    Network,
    /// The image, tag, platform or file is not there.
    NotFound,
    /// Bytes are not what was promised.
    Integrity,
    /// A signature, policy or sequence is not acceptable.
    Trust,
    /// The disk is full, the file too large or the medium broken.
    Disk,
    /// Some images are done and some are not.
    Partial,
    /// Another run works on the same file.
    Locked,
    /// The server asks to come back later.
    RateLimited,
    /// The user stopped the run.
    Interrupted,
}

/// How an error enum of an edge module explains itself.
pub trait Explain: Error + Send + Sync + 'static {
    /// The class, by a full match over the variants.
    fn class(&self) -> ErrorClass;
    /// The next thing to do or to type, where there is one.
    fn help(&self) -> Option<String>;
}

/// A file's path as one word of a command that a POSIX shell is given, for next steps that can be typed.
pub fn typed(path: &Path) -> String {
    let shown = path.display().to_string();
    match shlex::try_quote(&shown) {
        Ok(quoted) => quoted.into_owned(),
        // No path holds NUL, which alone cannot be quoted.
        Err(_) => shown,
    }
}

/// An error on its way to the user: what was tried on what, why it failed, what to do.
pub struct Failure {
    class: ErrorClass,
    help: Option<String>,
    error: Box<dyn Error + Send + Sync>,
}

impl Failure {
    /// A failure with words of its own and no cause below it.
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self { class, help: None, error: Box::new(Message { text: message.into(), cause: None }) }
    }

    /// The same failure with a next step.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same failure seen from further out: `message` says what was tried, this failure becomes the cause.
    #[must_use]
    pub fn within(self, message: impl Into<String>) -> Self {
        Self {
            class: self.class,
            help: self.help,
            error: Box::new(Message { text: message.into(), cause: Some(self.error) }),
        }
    }

    /// What kind of failure it is.
    pub fn class(&self) -> ErrorClass {
        self.class
    }

    /// The next step for the user.
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// The first error of a type among the message and its causes.
    pub fn cause<E: Error + 'static>(&self) -> Option<&E> {
        let mut next: Option<&(dyn Error + 'static)> = Some(&*self.error);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            next = error.source();
        }
        None
    }

    /// The message and its causes, outermost first, without repeating what a cause says word for word.
    pub fn chain(&self) -> Vec<String> {
        let mut texts = vec![self.error.to_string()];
        let mut next = self.error.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            if texts.last() != Some(&text) {
                texts.push(text);
            }
            next = cause.source();
        }
        texts
    }
}

impl<E: Explain> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { class: error.class(), help: error.help(), error: Box::new(error) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.chain().join(": "))
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.class)
    }
}

#[derive(Debug)]
struct Message {
    text: String,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Message {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_keeps_class_and_help_when_seen_from_further_out() {
        let inner = Failure::new(ErrorClass::Disk, "no space left").with_help("make room");
        let outer = inner.within("failed to write `a.tar`");
        assert_eq!(outer.class(), ErrorClass::Disk);
        assert_eq!(outer.help(), Some("make room"));
        assert_eq!(outer.chain(), ["failed to write `a.tar`", "no space left"]);
    }
}
