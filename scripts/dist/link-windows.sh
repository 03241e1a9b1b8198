#!/usr/bin/env bash
# The linker for Windows. The linker script of mingw sorts import tables by the names of the files that they come from,
# folders included, so the binary would depend on where the build stands. Here the linker runs in a folder of links and
# gets every name relative to it. binary.sh sets LINK_FOLDERS: names and folders by turns, a line each, inner ones first.
set -euo pipefail
links=$(mktemp -d)
trap 'rm -rf "$links"' EXIT
mapfile -t folders <<<"$LINK_FOLDERS"
arguments=()

# What the compiler makes for this one link stands in a folder of its own, which has another name each time.
for argument; do
    case "$argument" in /*/symbols.o) folders=(made "${argument%/*}" "${folders[@]}") ;; esac
done

for argument; do
    for ((at = 0; at < ${#folders[@]}; at += 2)); do
        name=${folders[at]} folder=${folders[at + 1]}
        case "$argument" in
            "$folder"/*) argument=$name/${argument#"$folder"/} ;;
            -L"$folder"/*) argument=-L$name/${argument#-L"$folder"/} ;;
        esac
    done
    arguments+=("$argument")
done

for ((at = 0; at < ${#folders[@]}; at += 2)); do
    ln -s "${folders[at + 1]}" "$links/${folders[at]}"
done
cd "$links"
x86_64-w64-mingw32-gcc "${arguments[@]}"
