//! The table of answers and targets in `docs/render.md` is that of the code: `UPDATE_DOCS=1` writes it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use octobundle::render::{RenderTarget, Setting, Subject, Use, usage};

const BEGIN: &str = "<!-- answers -->\n";
const END: &str = "<!-- /answers -->";

#[test]
fn the_table_of_answers_is_that_of_the_code() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/render.md");
    let text = fs::read_to_string(&file).expect("it is there");
    let (before, rest) = text.split_once(BEGIN).expect("it has the mark where the table begins");
    let (_, after) = rest.split_once(END).expect("it has the mark where the table ends");
    let expected = format!("{before}{BEGIN}{}{END}{after}", table());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&file, &expected).expect("it can be written");
    }
    assert!(
        text == expected || std::env::var_os("UPDATE_DOCS").is_some(),
        "UPDATE_DOCS=1 cargo test --test render_table"
    );
}

fn table() -> String {
    let mut table = String::from("| answer |");
    for target in RenderTarget::ALL {
        write!(table, " {} |", title(target)).expect("a String takes any text");
    }
    table += "\n|---|";
    table += &":-:|".repeat(RenderTarget::ALL.len());
    table.push('\n');
    for setting in Setting::ALL {
        write!(table, "| `{}` |", setting.key()).expect("a String takes any text");
        for target in RenderTarget::ALL {
            let mark = match usage(target, setting) {
                Use::Needed => "●",
                Use::Taken => "○",
                Use::Unused(_) => "-",
            };
            write!(table, " {mark} |").expect("a String takes any text");
        }
        table.push('\n');
    }
    table
}

fn title(target: RenderTarget) -> String {
    match target.subject() {
        Subject::Agent => target.key().to_owned(),
        Subject::Infra => format!("infra {}", target.key()),
    }
}
