#!/usr/bin/env bash
# Runs every check, all of them even if one fails, and ends with the lines of the test runner.
# Installs nothing; scripts/test.sh does.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

readonly output=target/test-output.txt
mkdir -p target
failed=()
not_checked=()

main() {
    local before
    before=$(tree)
    step "format" cargo fmt --check
    step "lints" cargo clippy --all-targets --locked -- -D warnings
    step "tests" tests
    step "documentation" env RUSTDOCFLAGS=-Dwarnings cargo doc --locked --no-deps --document-private-items
    step "dependencies" dependencies
    step "unchanged files" unchanged "$before"
    summary
    [ ${#failed[@]} = 0 ]
}

step() {
    local name=$1
    shift
    echo "==> $name"
    "$@" || failed+=("$name")
}

tests() {
    # Some tests hang up on what they start, or type Ctrl-C, which goes unheard where this was started with nohup or in
    # the background of a script.
    local signals=(env "--default-signal=HUP,INT,QUIT")
    "${signals[@]}" true 2>/dev/null || signals=()
    ${signals[@]+"${signals[@]}"} cargo test --locked --no-fail-fast 2>&1 | tee "$output"
}

# Licences, bans and sources need nothing from outside; advisories need a database that may be out of reach, also
# for continuous integration in a closed network: the summary says then that they were not looked at.
dependencies() {
    if ! command -v cargo-deny >/dev/null; then
        not_checked+=("dependencies: cargo-deny is not installed")
        [ "${CI-}" != true ]
        return
    fi
    local sound=0
    cargo deny --locked check licenses bans sources || sound=1
    if cargo deny --locked fetch db; then
        cargo deny --locked check --disable-fetch advisories || sound=1
    else
        not_checked+=("advisories: their database cannot be fetched from here")
    fi
    return $sound
}

git_here() { git -c safe.directory='*' "$@"; }

# What stands in the working tree, so that a check that writes into it is noticed.
tree() {
    if git_here rev-parse --git-dir >/dev/null 2>&1; then
        git_here status --porcelain
        git_here diff HEAD
    else
        echo "no repository"
    fi
}

unchanged() {
    if [ "$1" = "no repository" ]; then
        not_checked+=("unchanged files: this is no git repository")
    elif [ "$1" != "$(tree)" ]; then
        echo "the checks changed files:"
        git_here status --short
        return 1
    fi
}

count() {
    sed -n "s/^test result: .* \([0-9][0-9]*\) $1.*/\1/p" "$output" | awk '{ sum += $1 } END { print sum + 0 }'
}

summary() {
    echo "==> summary"
    grep -E '^ +(Running|Doc-tests) |^test result: ' "$output"
    grep -ho 'SKIPPED: .*' "$output" | sort | uniq -c
    local line
    for line in "${not_checked[@]}"; do echo "NOT CHECKED: $line"; done
    for line in "${failed[@]}"; do echo "FAILED: $line"; done
    echo "$(count passed) passed, $(count failed) failed, $(count ignored) ignored, $(grep -c 'SKIPPED: ' "$output") skipped"
}

main
