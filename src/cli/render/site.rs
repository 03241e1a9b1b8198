//! A site file: the answers of one site, each by the name of its flag.

use std::path::{Path, PathBuf};

use octobundle::content::folder_of;
use octobundle::failure::{Explain as _, Failure};
use octobundle::manifest::{MAX_MANIFEST_BYTES, Sheet, SheetMistake};
use octobundle::render::{Answers, Given, Kind, RenderTarget, Setting, Subject, Use, WrongAnswer, usage};

use crate::cli::input::read_limited;
use crate::cli::push::target;
use crate::cli::render::flags::answer_file;

/// A site file that was read.
pub(crate) struct Site {
    path: PathBuf,
    sheet: Sheet,
    pub(crate) given: Given,
}

/// What a site file says when it is looked at by itself.
pub(crate) struct Checked {
    /// What it is good for, in words; only of one without mistakes.
    pub(crate) says: Option<String>,
    /// All that is wrong with it, from top to bottom.
    pub(crate) mistakes: Vec<SheetMistake>,
}

impl Site {
    /// Reads one. Files that it names stand beside it, or have absolute paths. The first mistake is the error.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let (site, mistakes) = Self::look(path)?;
        mistakes.into_iter().min_by_key(|mistake| mistake.line).map_or(Ok(site), |first| Err(first.error.into()))
    }

    /// Looks at one by itself: everything that is wrong with it, or what it is for.
    pub(crate) fn check(path: &Path) -> Result<Checked, Failure> {
        let (site, mut mistakes) = Self::look(path)?;
        let (mut answers, wrong) = Answers::examine(&site.given);
        // What has a wrong answer does not lack.
        answers.answered.extend(site.settings().filter(|&setting| {
            site.given.texts(setting).is_empty() || wrong.iter().any(|wrong| wrong.setting == setting)
        }));
        let (says, mut objections) = site.purpose(&answers);
        for objection in &mut objections {
            objection.nth = place_before(objection, &wrong);
        }
        mistakes.extend(wrong.iter().chain(&objections).map(|wrong| site.mistake(wrong)));
        mistakes.extend(site.wrong_registry());
        mistakes.sort_by_key(|mistake| mistake.line);
        Ok(Checked { says: mistakes.is_empty().then_some(says), mistakes })
    }

    fn settings(&self) -> impl Iterator<Item = Setting> {
        self.sheet.entries().filter_map(|entry| Setting::by_key(entry.key))
    }

    /// What can be read of one, and what cannot.
    fn look(path: &Path) -> Result<(Self, Vec<SheetMistake>), Failure> {
        let text = read_limited(path, MAX_MANIFEST_BYTES as u64 + 1)?;
        let known = Setting::ALL.map(Setting::key);
        let (sheet, mistakes) = Sheet::parse(&path.display().to_string(), &text, &known)?;
        let mut site = Self { path: path.to_owned(), sheet, given: Given::default() };
        let more = site.take_answers();
        Ok((site, mistakes.into_iter().chain(more).collect()))
    }

    fn take_answers(&mut self) -> Vec<SheetMistake> {
        let mut mistakes = Vec::new();
        for entry in self.sheet.entries() {
            let setting = Setting::by_key(entry.key).expect("other keys were left out");
            match (setting.kind(), &entry.texts[..]) {
                (Kind::Texts, texts) => texts.iter().for_each(|text| self.given.add(setting, *text)),
                (Kind::File, [named]) => match answer_file(&folder_of(&self.path).join(named)) {
                    Ok(content) => self.given.add(setting, content),
                    Err(failure) => {
                        let message = format!("`{}` cannot be used: {}", entry.key, failure.chain().join(": "));
                        let help = failure.help().map(str::to_owned);
                        mistakes.push(self.sheet.mistake(entry.key, Some(0), message, help));
                    }
                },
                (_, [text]) => self.given.add(setting, *text),
                _ if entry.sound => {
                    let message = format!("`{}` takes one value", entry.key);
                    let help = Some(format!("write `{}: VALUE`", entry.key));
                    mistakes.push(self.sheet.mistake(entry.key, None, message, help));
                }
                _ => {}
            }
        }
        mistakes
    }

    /// That an answer of this file is wrong, where it stands.
    fn mistake(&self, wrong: &WrongAnswer) -> SheetMistake {
        self.sheet.mistake(wrong.setting.key(), Some(wrong.nth), wrong.to_string(), wrong.help())
    }

    /// The same as an error.
    pub(crate) fn explain(&self, wrong: &WrongAnswer) -> Failure {
        self.mistake(wrong).error.into()
    }

    fn wrong_registry(&self) -> Option<SheetMistake> {
        let keep_host = self.given.is_on(Setting::KeepHost).unwrap_or_default();
        let failure = target(self.given.one(Setting::Registry)?, keep_host).err()?;
        let message = failure.chain().join(": ");
        Some(self.sheet.mistake(Setting::Registry.key(), Some(0), message, failure.help().map(str::to_owned)))
    }

    /// What these answers are for, and what keeps them from it.
    fn purpose(&self, answers: &Answers) -> (String, Vec<WrongAnswer>) {
        let Some(key) = self.given.one(Setting::As) else {
            return ("its answers are sound; it says nothing `as` what".into(), Vec::new());
        };
        let known = [Subject::Agent, Subject::Infra].map(|subject| RenderTarget::by_key(subject, key));
        // `compose` is a form of both: it is meant for the one that has less against it.
        let fitting = known.iter().flatten().map(|&target| (target, objections(target, answers)));
        match (fitting.min_by_key(|(_, objections)| objections.len()), known) {
            (Some((target, objections)), _) => (purpose_of(target, answers), objections),
            (None, [Err(error), _]) => (String::new(), vec![WrongAnswer { setting: Setting::As, nth: 0, error }]),
            (None, _) => unreachable!("what is known of an agent fits"),
        }
    }
}

/// Which text of the file an objection is about: those that could not be taken were not counted.
fn place_before(objection: &WrongAnswer, wrong: &[WrongAnswer]) -> usize {
    let gone = |nth| wrong.iter().any(|wrong| wrong.setting == objection.setting && wrong.nth == nth);
    (0..).filter(|&nth| !gone(nth)).nth(objection.nth).expect("there is no end of numbers")
}

/// A token that lacks is asked for when it is needed.
fn objections(target: RenderTarget, answers: &Answers) -> Vec<WrongAnswer> {
    let mut answers = answers.clone();
    if usage(target, Setting::TokenFile) == Use::Needed {
        answers.answered.insert(Setting::TokenFile);
    }
    target.objections(&answers)
}

fn purpose_of(target: RenderTarget, answers: &Answers) -> String {
    let asks = usage(target, Setting::TokenFile) == Use::Needed && answers.token.is_none();
    let token = if asks { " but the token, which it asks for in a terminal" } else { "" };
    format!("`render {} --as {}` has all it needs{token}", target.subject().key(), target.key())
}

/// Reads a pasted command from a file, or from standard input for `-`.
pub(crate) fn pasted_text(path: &Path) -> Result<String, Failure> {
    if path != Path::new("-") {
        return answer_file(path);
    }
    let mut text = String::new();
    std::io::Read::read_to_string(&mut std::io::Read::take(std::io::stdin(), 1 << 20), &mut text).map_err(|error| {
        crate::cli::input::usage(
            format!("the pasted command cannot be read: {error}"),
            "give it as text: `--from-command FILE`",
        )
    })?;
    Ok(text)
}
