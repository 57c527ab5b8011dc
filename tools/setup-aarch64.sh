#!/usr/bin/env bash
# Unpacks a Rust compiler, a C compiler and an emulator for 64-bit Arm under a folder of their own, from
# Debian's packages: no root, nothing installed, works on Debian 12 and later (amd64).
#
#   tools/setup-aarch64.sh [FOLDER]        default: target/aarch64-toolchain
#
# Then `source FOLDER/env`, and
#   cargo test --target aarch64-unknown-linux-gnu --lib --bins --tests
# builds with that compiler and runs the tests under qemu. FOLDER/env also sets QEMU_X86_64, an
# emulator of other x86-64 processors. A second run with the same folder returns at once.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(realpath -m "${1:-$here/../target/aarch64-toolchain}")
root=$folder/root
# The script's own checksum: an edited script starts afresh.
stamp=$(cksum <"${BASH_SOURCE[0]}")
if [[ -f $folder/env && $(cat "$folder/stamp" 2>/dev/null) == "$stamp" ]]; then
    echo "ready: $folder/env"
    exit
fi
rm -rf "$folder"
mkdir -p "$folder"/{lists/partial,cache/archives/partial,packages,root}

# Package lists of our own, so that arm64 packages are seen without adding the architecture to the
# system.
cat >"$folder/apt.conf" <<CONF
APT::Architecture "amd64";
APT::Architectures { "amd64"; "arm64"; };
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Retries "3";
Dir::State::Lists "$folder/lists";
Dir::Cache "$folder/cache";
CONF
export APT_CONFIG=$folder/apt.conf
apt-get update -qq

# dependency PACKAGE PATTERN: the first dependency of PACKAGE whose name matches.
dependency() {
    local found
    found=$(apt-cache depends "$1" | awk -v pattern="$2" '$1 ~ /Depends:/ && $2 ~ pattern { print $2; exit }')
    if [[ -z $found ]]; then
        echo "$1: no dependency like $2; is it in this release of Debian?" >&2
        exit 1
    fi
    echo "$found"
}
# rustc-web is the current Rust that Debian carries for its browsers, in the same version for both
# architectures; the versioned packages behind it hold the compiler's own library and LLVM.
library=$(dependency libstd-rust-web-dev '^libstd-rust-web-[0-9]')
llvm=$(dependency "$library" '^libllvm[0-9]')
gcc=$(dependency gcc-aarch64-linux-gnu '^gcc-[0-9]+-aarch64-linux-gnu$')
gcc_version=${gcc#gcc-}
gcc_version=${gcc_version%%-*}
cpp=cpp-$gcc_version-aarch64-linux-gnu
numbers=()
for pattern in libgmp libisl libmpc libmpfr; do
    numbers+=("$(dependency "$cpp" "^${pattern}[0-9]")")
done

(
    cd "$folder/packages"
    apt-get download -qq rustc-web "$library" "$llvm" libstd-rust-web-dev libstd-rust-web-dev:arm64 \
        "$gcc" "$cpp" "${numbers[@]}" binutils-aarch64-linux-gnu "libgcc-$gcc_version-dev-arm64-cross" \
        libgcc-s1-arm64-cross libc6-arm64-cross libc6-dev-arm64-cross \
        linux-libc-dev-arm64-cross qemu-user-static
    for package in *.deb; do
        dpkg-deb --extract "$package" "$root"
    done
)
rm -rf "$folder"/{packages,lists,cache}

libraries=$root/usr/lib/x86_64-linux-gnu
llvm_folder=$(dirname "$(find "$root/usr/lib" -name 'libLLVM*.so*' -print -quit)")
# Bash, since dash loses variables with a hyphen in their name, and cargo hands over CARGO_BIN_EXE_bnn-run.
cat >"$folder/rustc" <<SCRIPT
#!/bin/bash
LD_LIBRARY_PATH="$libraries:$llvm_folder\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}" exec "$root/usr/bin/rustc" "\$@"
SCRIPT
cat >"$folder/cc" <<SCRIPT
#!/bin/sh
LD_LIBRARY_PATH="$libraries" exec "$root/usr/bin/aarch64-linux-gnu-gcc-$gcc_version" --sysroot="$root" -isystem "$root/usr/aarch64-linux-gnu/include" -L"$root/usr/aarch64-linux-gnu/lib" "\$@"
SCRIPT
cat >"$folder/ar" <<SCRIPT
#!/bin/sh
LD_LIBRARY_PATH="$libraries" exec "$root/usr/bin/aarch64-linux-gnu-ar" "\$@"
SCRIPT
cat >"$folder/strip" <<SCRIPT
#!/bin/sh
LD_LIBRARY_PATH="$libraries" exec "$root/usr/bin/aarch64-linux-gnu-strip" "\$@"
SCRIPT
chmod +x "$folder/rustc" "$folder/cc" "$folder/ar" "$folder/strip"
cat >"$folder/env" <<ENV
export RUSTC="$folder/rustc"
export CC_aarch64_unknown_linux_gnu="$folder/cc"
export AR_aarch64_unknown_linux_gnu="$folder/ar"
export STRIP_aarch64_unknown_linux_gnu="$folder/strip"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER="$folder/cc"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="$root/usr/bin/qemu-aarch64-static -L $root/usr/aarch64-linux-gnu"
export QEMU_X86_64="$root/usr/bin/qemu-x86_64-static"
ENV
"$folder/rustc" --version
echo "$stamp" >"$folder/stamp"
echo "ready: $folder/env"
