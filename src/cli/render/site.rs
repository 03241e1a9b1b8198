//! A site file: the answers of one site, each by the name of its flag.

use std::path::{Path, PathBuf};

use octobundle::content::folder_of;
use octobundle::failure::Failure;
use octobundle::manifest::{MAX_MANIFEST_BYTES, Sheet, SheetEntry};
use octobundle::render::{Answers, Given, Kind, RenderError, RenderTarget, Setting, Subject, WrongAnswer};

use crate::cli::input::{read_limited, usage};
use crate::cli::push::target;
use crate::cli::render::flags::answer_file;

/// A site file that was read.
pub(crate) struct Site {
    path: PathBuf,
    sheet: Sheet,
    pub(crate) given: Given,
}

impl Site {
    /// Reads one. Files that it names stand beside it, or have absolute paths.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let text = read_limited(path, MAX_MANIFEST_BYTES as u64 + 1)?;
        let sheet = Sheet::parse(&path.display().to_string(), &text, &Setting::ALL.map(Setting::key))?;
        let mut given = Given::default();
        for entry in sheet.entries() {
            let setting = Setting::by_key(entry.key).expect("other keys were refused");
            for text in texts(&sheet, setting, &entry)? {
                given.add(setting, text);
            }
        }
        // A path in it is relative to it.
        let mut site = Self { path: path.to_owned(), sheet, given };
        site.read_files()?;
        Ok(site)
    }

    fn read_files(&mut self) -> Result<(), Failure> {
        for setting in Setting::ALL.into_iter().filter(|setting| setting.kind() == Kind::File) {
            let Some(named) = self.given.one(setting) else { continue };
            let content = answer_file(&folder_of(&self.path).join(named)).map_err(|failure| {
                failure.within(format!("`{}` in `{}` cannot be used", setting.key(), self.path.display()))
            })?;
            self.given = std::mem::take(&mut self.given).without(setting);
            self.given.add(setting, content);
        }
        Ok(())
    }

    /// The error that an answer of this file is wrong, where it stands.
    pub(crate) fn explain(&self, wrong: &WrongAnswer) -> Failure {
        use octobundle::failure::Explain as _;
        self.sheet.mistake(wrong.setting.key(), wrong.nth, wrong.to_string(), wrong.help()).into()
    }

    /// Checks the file by itself; gives what it is for.
    pub(crate) fn check(&self) -> Result<String, Failure> {
        let answers = Answers::new(&self.given).map_err(|wrong| self.explain(&wrong))?;
        if let Some(registry) = self.given.one(Setting::Registry) {
            let keep_host = self.given.is_on(Setting::KeepHost).map_err(|wrong| self.explain(&wrong))?;
            target(registry, keep_host).map_err(|failure| {
                let message = failure.chain().join(": ");
                Failure::from(self.sheet.mistake("registry", 0, message, failure.help().map(str::to_owned)))
            })?;
        }
        let Some(key) = self.given.one(Setting::As) else {
            return Ok("its answers are sound; it says nothing `as` what".into());
        };
        let told = |subject| RenderTarget::by_key(subject, key).and_then(|target| target.accepts(&answers));
        let of_agent = told(Subject::Agent);
        let subject = if of_agent.is_ok() { Subject::Agent } else { Subject::Infra };
        match (of_agent, told(Subject::Infra)) {
            (Err(error), Err(_)) => {
                let setting = match &error {
                    RenderError::NoUse { setting, .. } => *setting,
                    _ => Setting::As,
                };
                Err(self.explain(&WrongAnswer { setting, nth: 0, error }))
            }
            _ => Ok(format!("`render {} --as {key}` has all it needs", subject.key())),
        }
    }
}

/// The texts of an entry, where its setting takes so many.
fn texts<'a>(sheet: &Sheet, setting: Setting, entry: &SheetEntry<'a>) -> Result<Vec<&'a str>, Failure> {
    if setting.kind() != Kind::Texts && entry.texts.len() != 1 {
        let help = Some(format!("write `{}: VALUE`", setting.key()));
        return Err(sheet
            .mistake(setting.key(), usize::MAX, format!("`{}` takes one value", setting.key()), help)
            .into());
    }
    Ok(entry.texts.clone())
}

/// Reads a pasted command from a file, or from standard input for `-`.
pub(crate) fn pasted_text(path: &Path) -> Result<String, Failure> {
    if path != Path::new("-") {
        return answer_file(path);
    }
    let mut text = String::new();
    std::io::Read::read_to_string(&mut std::io::Read::take(std::io::stdin(), 1 << 20), &mut text).map_err(|error| {
        usage(format!("the pasted command cannot be read: {error}"), "give it as text: `--from-command FILE`")
    })?;
    Ok(text)
}
