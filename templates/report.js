
"use strict";
// Without this script the page is whole but for the buttons, which stay hidden.
for (const button of document.querySelectorAll("button.copy")) {
  const code = button.previousElementSibling;
  const say = (word) => {
    button.textContent = word;
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  };
  // Pages served over plain http have no clipboard object; the old way copies what is selected.
  const bySelection = () => {
    const selection = getSelection();
    selection.selectAllChildren(code);
    say(document.execCommand("copy") ? "Copied" : "Selected");
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    if (!navigator.clipboard) {
      bySelection();
      return;
    }
    navigator.clipboard.writeText(code.textContent).then(() => say("Copied"), bySelection);
  });
}
