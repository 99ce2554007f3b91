"""Run by another interpreter, which has no packages: encodes what is described to it, line by line."""

import importlib.util
import json
import sys
import types
import zoneinfo
from pathlib import Path

HERE = Path(__file__).resolve().parent


def _load(name, path):
    # With its packages, which need not be importable here, since classes are known by these names.
    for end in range(1, name.count(".") + 1):
        package = ".".join(name.split(".")[:end])
        sys.modules.setdefault(package, types.ModuleType(package))
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)
    return module


def main():
    sys.modules["pydantic"] = None  # type: ignore[assignment]  # It is slow to import, and another version may be here.
    keys = HERE.parents[1] / "jobtastic_signals" / "keys"
    _load("jobtastic_signals.keys.instances", keys / "instances.py")
    canonical = _load("jobtastic_signals.keys.canonical", keys / "canonical.py")
    specs = _load("tests.properties.specs", HERE / "specs.py")
    for cls, content in specs.REGISTERED.items():
        canonical.register_type(cls, content)

    def encoded(spec):
        try:
            return canonical.encode(specs.build(spec)).hex()
        except zoneinfo.ZoneInfoNotFoundError:
            return None

    print(f"{sys.version_info.major}.{sys.version_info.minor}", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if asked["order"]:
            answer = list(specs.build(asked["described"][0]))
        else:
            answer = list(map(encoded, asked["described"]))
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
