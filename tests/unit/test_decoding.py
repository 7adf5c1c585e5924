"""Typed values are decoded by any thread at any time."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import hitui
from hitui.decoding import convert, json_decoder, msgpack_decoder

ROOT = Path(hitui.__file__).parent
AT_ONCE = r"""
import sys
import threading
import types

from hitui.decoding import convert, json_decoder

TYPES = "from __future__ import annotations\nimport msgspec\n" + "".join(
    f"class Level{level}(msgspec.Struct):\n"
    f"    below: {f'Level{level - 1} | None' if level else 'int | None'} = None\n"
    + "".join(f"    field{number}: int | str | None = None\n" for number in range(12))
    for level in range(12)
)
sys.setswitchinterval(1e-6)
for round in range(100):
    module = types.ModuleType(f"types{round}")
    sys.modules[module.__name__] = module
    exec(TYPES, vars(module))
    gate = threading.Barrier(4)
    found = []

    def decode(number):
        gate.wait()
        if number % 2:
            found.append(convert({"below": {"field3": number}}, module.Level11).below.field3)
        else:
            found.append(json_decoder(module.Level10)(b'{"below": {"field3": %d}}' % number).below.field3)

    threads = [threading.Thread(target=decode, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [0, 1, 2, 3]
"""


def test_threads_that_ask_for_a_type_at_the_same_moment_all_get_it() -> None:
    run = subprocess.run([sys.executable, "-c", AT_ONCE], capture_output=True, text=True, cwd=ROOT.parent)
    assert (run.returncode, run.stderr) == (0, "")


def test_nothing_else_asks_msgspec_for_types() -> None:
    asking = []
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Call):
                asked = ast.unparse(node.func)
                typed = asked in ("msgspec.json.decode", "msgspec.msgpack.decode") and "type" in {
                    keyword.arg for keyword in node.keywords
                }
                if typed or asked in ("msgspec.convert", "msgspec.json.Decoder", "msgspec.msgpack.Decoder"):
                    asking.append(path.name)
    assert set(asking) == {Path(convert.__code__.co_filename).name}
    assert {json_decoder.__module__, msgpack_decoder.__module__} == {convert.__module__}
