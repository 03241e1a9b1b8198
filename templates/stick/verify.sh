#!/bin/sh
# Checks every file of this medium against SHA256SUMS: `sh verify.sh`. Needs sha256sum.
set -eu
case $0 in */*) cd "${0%/*}" ;; esac

carriage_return=$(printf '\r')
byte_order_mark=$(printf '\357\273\277')

# Windows writes digests in capitals.
in_small_letters() {
    rest=$1
    small=
    while [ -n "$rest" ]; do
        letter=${rest%"${rest#?}"}
        rest=${rest#?}
        case $letter in
            A) letter=a ;; B) letter=b ;; C) letter=c ;; D) letter=d ;; E) letter=e ;; F) letter=f ;;
        esac
        small=$small$letter
    done
}

wrong=0
checked=0
# An editor may have added line ends of another system, or a mark at the start.
while IFS= read -r line || [ -n "$line" ]; do
    line=${line#"$byte_order_mark"}
    line=${line%"$carriage_return"}
    [ -n "$line" ] || continue
    checked=$((checked + 1))
    name=${line#*  }
    in_small_letters "${line%%  *}"
    found=$(sha256sum "./$name") || found=
    if [ -n "$small" ] && [ "${found%% *}" = "$small" ]; then
        printf '%s: OK\n' "$name"
    else
        printf '%s: DAMAGED OR MISSING\n' "$name"
        wrong=$((wrong + 1))
    fi
done <SHA256SUMS
if [ "$checked" -eq 0 ]; then
    echo "SHA256SUMS is empty: nothing was checked" >&2
    exit 1
fi
if [ "$wrong" -ne 0 ]; then
    echo "$wrong of $checked files are damaged or missing. Do not use them: copy them again." >&2
    exit 1
fi
echo "all $checked files are whole"
