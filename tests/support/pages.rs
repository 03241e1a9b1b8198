//! The pages of the documentation, as their tests read them.

/// A fenced block.
pub(crate) struct Block {
    pub(crate) language: String,
    pub(crate) text: String,
}

/// All fenced blocks of a document.
pub(crate) fn blocks(document: &str) -> Vec<Block> {
    let parts: Vec<&str> = document.split("\n```").collect();
    let inside = parts.iter().skip(1).step_by(2);
    let block = |part: &&str| {
        let (language, text) = part.split_once('\n').unwrap_or((part, ""));
        Block { language: language.to_owned(), text: format!("{text}\n") }
    };
    inside.map(block).collect()
}

/// Everything outside of fenced blocks.
pub(crate) fn prose(document: &str) -> String {
    document.split("\n```").step_by(2).collect()
}

/// What a document names between backticks: files, tests, commands.
pub(crate) fn named(document: &str) -> Vec<String> {
    prose(document).split('`').skip(1).step_by(2).map(str::to_owned).collect()
}
