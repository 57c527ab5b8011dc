#!/usr/bin/env bash
# Unpacks an archive of `cargo xtask package` into a fresh folder and uses what is in it as somebody would
# who has nothing else.
#
#   tools/check_package.sh ARCHIVE.tar.gz [EMULATOR...]      EMULATOR runs programs for another processor
#
# Needs tar, binutils, pkg-config, mandoc and bash; a C compiler for programs of this machine's kind.
set -euo pipefail

archive=$(realpath "$1")
shift
emulator=("$@")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
name=$(basename "$archive" .tar.gz)

fail() {
    echo "$name: $*" >&2
    exit 1
}

tar -xzf "$archive" -C "$folder"
[[ $(ls "$folder") == "$name" ]] || fail "more than one folder at the top"
cd "$folder/$name"

for file in INSTALL.txt README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE THIRD-PARTY.txt bin/bnn-convert \
    bin/bnn-run include/bnn.h lib/libbnn.a lib/libbnn.so lib/libbnn.so.0 lib/pkgconfig/bnn.pc \
    share/man/man1/bnn-{convert,convert-archs,run,run-bench,run-eval,run-inspect,run-kernels,run-verify}.1 \
    share/bash-completion/completions/bnn-{convert,run} share/zsh/site-functions/_bnn-{convert,run} \
    share/fish/vendor_completions.d/bnn-{convert,run}.fish share/doc/bnn/docs/{c,format,graph}.md \
    share/doc/bnn/docs/pictures/airplane.png; do
    [[ -s $file ]] || fail "no $file"
done

# The tools: no loader, no libraries, and they work without any environment.
for tool in bnn-convert bnn-run; do
    # GNU's readelf reads the files of every processor.
    if readelf --wide --program-headers --dynamic "bin/$tool" 2>/dev/null | grep -E 'INTERP|NEEDED'; then
        fail "bin/$tool is not static"
    fi
    version=$(env -i "${emulator[@]}" "bin/$tool" --version)
    echo "$version"
    # The archive is called bnn-VERSION-TARGET.
    [[ bnn-$(sed -n "1s/^$tool \([^ ]*\).*/\1/p" <<<"$version")-$(sed -n '2s/.* for //p' <<<"$version") == "$name" ]] ||
        fail "$tool --version"
done
for picture in airplane ship; do
    answer=$(env -i "${emulator[@]}" bin/bnn-run "share/doc/bnn/examples/$picture.png" --annotate drawn.png)
    [[ -s drawn.png ]] || fail "$picture.png was not drawn"
    rm drawn.png
    echo "$answer"
    sed -n 2p <<<"$answer" | grep -q "^ *$picture  *[0-9.]* %" || fail "$picture.png was not named"
done
model=$(echo share/doc/bnn/models/default/*.bnn)
env -i "${emulator[@]}" bin/bnn-run inspect "$model" >/dev/null
# From a network as it was exported to boxes on a picture.
detector=share/doc/bnn/examples/detector
env -i "${emulator[@]}" bin/bnn-convert $detector/find_shapes.onnx -o found.bnn --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5 \
    --detector $detector/boxes.json --labels $detector/labels.txt >/dev/null
answer=$(env -i "${emulator[@]}" bin/bnn-run $detector/shapes.png -m found.bnn)
rm found.bnn
echo "$answer"
grep -q '^ *cross  *[0-9.]* %' <<<"$answer" || fail "no cross was found on shapes.png"

# The library, found by its pkg-config file wherever it lies.
flags=$(PKG_CONFIG_PATH=$PWD/lib/pkgconfig pkg-config --cflags --libs bnn)
[[ $flags == *"$PWD"* ]] || fail "bnn.pc leads to $flags"
if [[ ${#emulator[@]} == 0 ]]; then
    # The flags are words.
    # shellcheck disable=SC2086
    cc -o classify share/doc/bnn/examples/c/classify.c $flags
    answer=$(LD_LIBRARY_PATH=$PWD/lib ./classify "$model" share/doc/bnn/examples/ship.png)
    grep -q ' ship$' <<<"$answer" || fail "the C program answered: $answer"
fi

# Man pages: mandoc finds nothing to warn of but where the generator is generous with empty lines.
for page in share/man/man1/*.1; do
    # Its exit status tells of what is left out here, too.
    findings=$(mandoc -T lint -W warning "$page" || true)
    findings=$(grep -v 'skipping paragraph macro' <<<"$findings" || true)
    [[ -z $findings ]] || fail "$findings"
    for section in NAME SYNOPSIS DESCRIPTION OPTIONS EXAMPLES 'EXIT STATUS' ENVIRONMENT 'SEE ALSO'; do
        grep -qE "^\.SH \"?$section\"?$" "$page" || fail "$page has no $section"
    done
done

# Completions, called as the shells call them.
# complete_bash TOOL WORD...: what bash offers for the last word.
complete_bash() {
    bash -c '
        source "share/bash-completion/completions/$1"
        words=$(complete -p "$1")
        [[ $words =~ -F\ ([^ ]+) ]]
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=${#COMP_LINE}
        "${BASH_REMATCH[1]}" "$1" "${@: -1}" "${*: -2:1}"
        printf "%s\n" "${COMPREPLY[@]}"
    ' bash "$@"
}
complete_bash bnn-run be | grep -qx bench || fail "bash does not complete bnn-run be"
complete_bash bnn-run bench --thr | grep -qx -- --threads || fail "bash does not complete bench --thr"
complete_bash bnn-convert --interp | grep -qx -- --interpolation || fail "bash: --interp"
if command -v zsh >/dev/null; then
    for tool in bnn-convert bnn-run; do
        zsh -n "share/zsh/site-functions/_$tool" || fail "zsh cannot read _$tool"
    done
fi
if command -v fish >/dev/null; then
    fish --no-config -c 'source share/fish/vendor_completions.d/bnn-run.fish; complete -C "bnn-run be"' |
        grep -q '^bench' || fail "fish does not complete bnn-run be"
fi
echo "$name: complete"
