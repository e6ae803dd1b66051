# What the build scripts of the consumers share, for the language of the folder that they lie in. Each ends with `finish`.
#
# They make target/polyglot/LANGUAGE.wasm, and LANGUAGE-composed.wasm, in which the store is a part, LANGUAGE-store.wasm.
set -euo pipefail
language=$(basename "$(cd "$(dirname "$0")" && pwd)")
root=$(cd "$(dirname "$0")/../../.." && pwd)
source=$root/tests/consumers/$language
out=$(realpath -m "${CARGO_TARGET_DIR:-$root/target}")/polyglot
# What the language's own tools need, and make on the way.
work=$out/$language
store=$(realpath -m "${MINISNAP_COMPONENT:-$root/host/component/minisnap.wasm}")
# The world `script`, with the packages that it takes from beside it.
wit=$work/wit
rm -rf "$wit"
mkdir -p "$work"
cp -r "$root/tests/consumers/wit" "$wit"
cp -r "$root/wit" "$wit/deps/minisnap"
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

finish() { # COMPONENT
  cp "$store" "$out/$language-store.wasm"
  tools compose "$1" "$store" "$out/$language-composed.wasm"
  cp "$1" "$out/$language.wasm"
  echo "$out/$language.wasm: $(wc -c < "$1") bytes"
}
