# What the build scripts of the consumers share, for the language of the folder that they lie in. Each ends with `finish`.
#
# They make target/polyglot/LANGUAGE.wasm, LANGUAGE-composed.wasm, in which the store is a part, LANGUAGE-store.wasm, and
# LANGUAGE-page.wasm of the program on the language's page.
set -euo pipefail
language=$(basename "$(cd "$(dirname "$0")" && pwd)")
root=$(cd "$(dirname "$0")/../../.." && pwd)
source=$root/tests/consumers/$language
out=$(realpath -m "${CARGO_TARGET_DIR:-$root/target}")/polyglot
# What the language's own tools need, and make on the way.
work=$out/$language
store=$(realpath -m "${MINISNAP_COMPONENT:-$root/host/component/minisnap.wasm}")
# What `minisnap wit` writes.
wit=$root/host/cli/wit
mkdir -p "$work"
echo "building the consumer in $language"

# The libraries behind `wit-bindgen`, `wasm-tools component` and `wac`: see tools/src/main.rs.
tools() {
  cargo build --locked --quiet --manifest-path "$root/tests/consumers/tools/Cargo.toml" --target-dir "$out/tools"
  "$out/tools/debug/consumer-tools" "$@"
}

# Installs what a file of Python's packages names, each in its exact version, once.
python_packages() { # FILE
  if ! cmp -s "$1" "$work/venv/installed"; then
    rm -rf "$work/venv"
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --requirement "$1"
    cp "$1" "$work/venv/installed"
  fi
}

# Prints a block of the page that is in a language, or of a kind of file: the first one, or the one of that number.
page() { # LANGUAGE [NUMBER]
  awk -v start="\`\`\`$1" -v number="${2:-1}" '$0 == "```" { inside = 0 } inside { print } $0 == start { inside = ++at == number }' \
    "$source/README.md"
}

finish() { # COMPONENT
  cp "$store" "$out/$language-store.wasm"
  tools compose "$1" "$store" "$out/$language-composed.wasm"
  cp "$1" "$out/$language.wasm"
  echo "$out/$language.wasm: $(wc -c < "$1") bytes"
}
