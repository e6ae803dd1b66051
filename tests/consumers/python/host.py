"""The same script, with the store component in another host than ours, wasmtime for Python: host.py COMPONENT DIR

Beside this lie, as `componentize-py bindings` makes them, the bindings that app.py is written for; here, the host gives
them their functions.
"""

import sys
from functools import partial
from types import SimpleNamespace

from componentize_py_types import Err
from wasmtime import Engine, Store, WasiConfig
from wasmtime.component import Component, Linker, Record, ResourceAny, Variant
from wit_world.imports import snapshot_store as bindings

INTERFACE = "arcella:minisnap/snapshot-store@0.1.0"


class Host:
    """One instance of the component, with one directory."""

    def __init__(self, component: str, directory: str) -> None:
        engine = Engine()
        self.store = Store(engine)
        wasi = WasiConfig()
        wasi.preopen_dir(directory, "/snapshots")
        wasi.env = [("MINISNAP_LAYOUT", "numbered"), ("MINISNAP_KEEP", "3")]
        wasi.inherit_stderr()
        self.store.set_wasi(wasi)
        linker = Linker(engine)
        linker.add_wasip2()
        self.instance = linker.instantiate(self.store, Component.from_file(engine, component))
        self.interface = self.instance.get_export_index(self.store, INTERFACE)

    def call(self, name: str, *arguments):
        """Calls a function of the interface. An error is a value for wasmtime, and an exception for the bindings."""
        index = self.instance.get_export_index(self.store, name, self.interface)
        function = self.instance.get_func(self.store, index)
        answer = function(self.store, *arguments)
        function.post_return(self.store)
        if isinstance(answer, Variant):
            raise Err(self.lift(answer))
        return self.lift(answer)

    def lift(self, value):
        """Makes of what wasmtime returns what the bindings have for it."""
        if isinstance(value, Variant):
            name = "".join(word.capitalize() for word in value.tag.split("-"))
            case = getattr(bindings, f"Error_{name}", None) or getattr(bindings, f"Soundness_{name}")
            return case() if value.payload is None else case(value.payload)
        if isinstance(value, Record):
            return SimpleNamespace(**{name: self.lift(field) for name, field in vars(value).items()})
        if isinstance(value, list):
            return [self.lift(element) for element in value]
        return value


class Resource:
    """A store, a writer or a reader, with the component's methods. `with` drops it."""

    name: str

    def __init__(self, host: Host, handle: ResourceAny) -> None:
        self.host, self.handle = host, handle

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.handle.drop(self.host.store)

    def __getattr__(self, method: str):
        return partial(self.call, method.replace("_", "-"))

    def call(self, method: str, *arguments):
        return self.host.call(f"[method]{self.name}.{method}", self.handle, *arguments)


class Reader(Resource):
    name = "snapshot-reader"


class Writer(Resource):
    name = "snapshot-writer"

    @classmethod
    def commit(cls, writer: "Writer") -> None:
        writer.host.call("[static]snapshot-writer.commit", writer.handle)

    @classmethod
    def discard(cls, writer: "Writer") -> None:
        writer.host.call("[static]snapshot-writer.discard", writer.handle)


class OpenStore(Resource):
    name = "store"

    def open_writer(self, seq: int) -> Writer:
        return Writer(self.host, self.call("open-writer", seq))

    def open_reader(self) -> Reader | None:
        handle = self.call("open-reader")
        return None if handle is None else Reader(self.host, handle)


def main() -> None:
    host = Host(*sys.argv[1:])
    bindings.open = lambda name: OpenStore(host, host.call("open", name))
    bindings.names = lambda: host.call("names")
    bindings.SnapshotWriter = Writer

    import app

    app.script()


if __name__ == "__main__":
    main()
