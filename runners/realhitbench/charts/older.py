"""What newer libraries do otherwise than those of the benchmark's own runs, and how they are made to do it as before.

The benchmark's runs had Python 3.11, numpy 1.26, pandas 2.2 and matplotlib 3.9. That one of the changes since then is why
a program ends otherwise is shown by running it with that change undone. This file's text runs inside the sandbox, before
the program, so it imports nothing of this package, and no library before it is asked to. Where a library is newer than
this file and has moved what a change is undone by, that change stays, and explains nothing.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import importlib
import inspect
import re
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple


class Change(NamedTuple):
    """One thing that a library does otherwise since a version."""

    library: str
    since: tuple[int, ...]
    words: str
    """What it does since then."""
    undo: Callable[[], None]
    """Has it as before, in this process."""

    @property
    def name(self) -> str:
        return self.undo.__name__


def since_then(versions: Mapping[str, str]) -> list[str]:
    """Names of the changes that libraries of these versions have."""
    return [name for name, change in CHANGES.items() if _numbers(versions[change.library]) >= change.since]


def described(names: Sequence[str]) -> str:
    """What has changed, in one line."""
    return "; ".join(
        f"since {change.library} {'.'.join(map(str, change.since))} {change.words}"
        for change in map(CHANGES.__getitem__, names)
    )


def undoing(names: Sequence[str]) -> str:
    """The program that undoes changes in the process that it runs in."""
    text = Path(__file__).read_text(encoding="utf-8") + f"\nundo({list(names)!r})\n"
    # In a dictionary of its own, so that its functions find each other however the program is run.
    return f"exec(compile({text!r}, 'older.py', 'exec'), {{'__name__': 'older'}})"


def undo(names: Sequence[str]) -> None:
    """Undoes those changes that can be undone here."""
    for name in names:
        with contextlib.suppress(Exception):
            CHANGES[name].undo()


def comprehensions() -> None:
    """Makes each comprehension a function again, which sees nothing of what surrounds it in a program that runs with two
    dictionaries."""
    kinds: dict[type[ast.AST], str] = {ast.ListComp: "list", ast.SetComp: "set", ast.DictComp: "dict"}

    class AsFunctions(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> Any:
            self.generic_visit(node)
            if not isinstance(node, (ast.ListComp, ast.SetComp, ast.DictComp)):
                return node
            each: ast.expr
            if isinstance(node, ast.DictComp):
                each = ast.Tuple([node.key, node.value], ast.Load())
            else:
                each = node.elt
            made = ast.GeneratorExp(each, node.generators)
            return ast.copy_location(ast.Call(_named(kinds[type(node)]), [made], []), node)

    _rewrite(AsFunctions(), {"list": list, "set": set, "dict": dict})


def one_number_in_an_array() -> None:
    """`float` and `int` of an array of one number are that number, where a program calls them."""
    array = importlib.import_module("numpy").ndarray

    class Calls(ast.NodeTransformer):
        def visit_Call(self, node: ast.Call) -> ast.Call:
            self.generic_visit(node)
            if isinstance(node.func, ast.Name) and node.func.id in ("float", "int") and len(node.args) == 1:
                node.func = ast.copy_location(_named(node.func.id), node.func)
            return node

    def converting(kind: Any) -> Any:
        def converted(value: Any, **named: Any) -> Any:
            return kind(value.item() if isinstance(value, array) and value.size == 1 else value, **named)

        return converted

    _rewrite(Calls(), {"float": converting(float), "int": converting(int)})


def _rewrite(transformer: ast.NodeTransformer, functions: Mapping[str, Any]) -> None:
    """Has programs of charts compiled with what a transformer makes of them; `functions`: what it calls by `_named`."""
    for name, function in functions.items():
        setattr(builtins, _named(name).id, function)
    compiled = builtins.compile

    def rewritten(source: Any, filename: Any, mode: Any, *more: Any, **named: Any) -> Any:
        if str(filename).endswith("chart>"):
            tree = compiled(source, filename, mode, ast.PyCF_ONLY_AST)
            source = ast.fix_missing_locations(transformer.visit(tree))
        return compiled(source, filename, mode, *more, **named)

    setattr(builtins, "compile", rewritten)  # noqa: B010 - its type is that of the one before it


def _named(name: str) -> ast.Name:
    """Under a name that no program has given to something else."""
    return ast.Name(f"_older_{name}", ast.Load())


def names_of_numpy() -> None:
    """Gives names back that were others for what there still is."""
    numpy = importlib.import_module("numpy")
    for name, now in (
        ("float_", "float64"),
        ("complex_", "complex128"),
        ("string_", "bytes_"),
        ("unicode_", "str_"),
        ("NaN", "nan"),
        ("Inf", "inf"),
        ("Infinity", "inf"),
        ("infty", "inf"),
        ("PINF", "inf"),
        ("round_", "round"),
        ("product", "prod"),
        ("cumproduct", "cumprod"),
        ("sometrue", "any"),
        ("alltrue", "all"),
        ("row_stack", "vstack"),
        ("trapz", "trapezoid"),
        ("in1d", "isin"),
    ):
        # Some were still there for a while, and no name is there for ever.
        if not hasattr(numpy, name) and hasattr(numpy, now):
            setattr(numpy, name, getattr(numpy, now))
    values: dict[str, Any] = {
        "NINF": -numpy.inf,
        "asfarray": lambda values, dtype="float64": numpy.asarray(values, dtype=dtype),
    }
    for name, value in values.items():
        setattr(numpy, name, value)


def texts() -> None:
    """Columns of texts are columns of objects."""
    importlib.import_module("pandas").set_option("future.infer_string", False)


def positions() -> None:
    """Whole numbers in `series[…]` are positions where its labels are no numbers."""
    pandas = importlib.import_module("pandas")
    whole = pandas.api.types.is_integer
    get, put = pandas.Series.__getitem__, pandas.Series.__setitem__

    def by_position(series: Any) -> bool:
        labels = series.index.levels[0] if series.index.nlevels > 1 else series.index
        labels = getattr(labels, "categories", labels)
        return labels.inferred_type not in ("integer", "mixed-integer", "floating", "complex")

    def getitem(series: Any, key: Any) -> Any:
        several = isinstance(key, list) and bool(key) and all(map(whole, key))
        if (whole(key) or several) and by_position(series):
            return series.iloc[key]
        return get(series, key)

    def setitem(series: Any, key: Any, value: Any) -> None:
        if whole(key) and by_position(series) and key not in series.index:
            series.iloc[key] = value
        else:
            put(series, key, value)

    pandas.Series.__getitem__, pandas.Series.__setitem__ = getitem, setitem


def columns_in_place() -> None:
    """What is changed in a column, got as `table["…"]`, is changed in its table."""
    pandas = importlib.import_module("pandas")
    get = pandas.DataFrame.__getitem__

    def getitem(table: Any, key: Any) -> Any:
        found = get(table, key)
        if isinstance(found, pandas.Series):
            # pandas takes what is set on a column for a label of it.
            object.__setattr__(found, "_older_table", (weakref.ref(table), key))
        return found

    def write_back(column: Any) -> None:
        table, key = getattr(column, "_older_table", (lambda: None, None))
        whole = table()
        if whole is not None and len(whole) == len(column):
            whole[key] = column

    def writing_back(method: Any) -> Any:
        def changed(column: Any, *values: Any, **named: Any) -> Any:
            result = method(column, *values, **named)
            if named.get("inplace") is True:
                write_back(column)
            return result

        return changed

    pandas.DataFrame.__getitem__ = getitem
    for name in ("fillna", "ffill", "bfill", "replace", "clip", "mask", "where", "interpolate"):
        setattr(pandas.Series, name, writing_back(getattr(pandas.Series, name)))
    put = pandas.Series.__setitem__

    def setitem(column: Any, key: Any, value: Any) -> None:
        put(column, key, value)
        write_back(column)

    pandas.Series.__setitem__ = setitem
    indexer = importlib.import_module("pandas.core.indexing")._LocationIndexer
    put_at = indexer.__setitem__

    def setitem_at(at: Any, key: Any, value: Any) -> None:
        put_at(at, key, value)
        write_back(at.obj)

    indexer.__setitem__ = setitem_at


def numbers_among_objects() -> None:
    """What is filled or replaced in columns of objects becomes numbers where nothing else is left."""
    pandas = importlib.import_module("pandas")

    def inferring(method: Any) -> Any:
        def inferred(values: Any, *more: Any, **named: Any) -> Any:
            result = method(values, *more, **named)
            if named.get("inplace") is True:
                values._update_inplace(values.infer_objects())
                return result
            return result.infer_objects()

        return inferred

    for kind in (pandas.Series, pandas.DataFrame):
        for name in ("fillna", "ffill", "bfill", "replace"):
            setattr(kind, name, inferring(getattr(kind, name)))


def values_of_another_type() -> None:
    """What does not fit the type of a column changes that type."""
    block = importlib.import_module("pandas.core.internals.blocks").Block
    coerced = block.coerce_to_target_dtype
    block.coerce_to_target_dtype = lambda own, other, raise_on_upcast=False: coerced(own, other, False)


def names_of_pandas() -> None:
    """Gives back what other names, or other ways, are there for."""
    pandas = importlib.import_module("pandas")
    pandas.DataFrame.applymap = pandas.DataFrame.map

    def filling(fill: Any) -> Any:
        def fillna(values: Any, value: Any = None, *, method: str | None = None, **named: Any) -> Any:
            if method is None:
                return fill(values, value, **named)
            return (values.ffill if method in ("ffill", "pad") else values.bfill)(**named)

        return fillna

    def ignoring(convert: Any) -> Any:
        def converted(values: Any, *more: Any, **named: Any) -> Any:
            if named.get("errors") != "ignore":
                return convert(values, *more, **named)
            try:
                return convert(values, *more, **{**named, "errors": "raise"})
            except (ValueError, TypeError):
                return values

        return converted

    for kind in (pandas.Series, pandas.DataFrame):
        kind.fillna = filling(kind.fillna)
    for name in ("to_numeric", "to_datetime"):
        setattr(pandas, name, ignoring(getattr(pandas, name)))


def one_number() -> None:
    """`float` and `int` of a series of one number are that number."""
    series = importlib.import_module("pandas").Series

    def converting(kind: Any) -> Any:
        def converted(values: Any) -> Any:
            if len(values) != 1:
                raise TypeError(f"cannot convert the series to {kind}")
            return kind(values.iloc[0])

        return converted

    series.__float__, series.__int__ = converting(float), converting(int)


def pies() -> None:
    """The sizes of a pie may be objects, as long as each is a number; and there may be none, or nothing but zeros or what
    is no number, of which one slice can be drawn, nowhere."""
    numpy = importlib.import_module("numpy")
    axes = importlib.import_module("matplotlib.axes").Axes
    wedge = importlib.import_module("matplotlib.patches").Wedge
    draw = axes.pie
    words = inspect.signature(draw)

    def pie(*values: Any, **named: Any) -> Any:
        told = words.bind(*values, **named)
        told.apply_defaults()
        own, x, options = told.arguments["self"], told.arguments["x"], told.arguments
        if isinstance(x, str):
            # It names what is in `data`.
            return draw(*values, **named)
        sizes = options["x"] = numpy.asarray(x, numpy.float32)
        total = sizes.sum()
        drawn_now = not (total == 0 or numpy.isnan(total)) or bool((sizes < 0).any())
        if sizes.ndim != 1 or drawn_now or not options["normalize"]:
            return draw(*told.args, **told.kwargs)
        own.set_aspect("equal")
        for name in ("labels", "explode"):
            if options[name] is not None and len(options[name]) != len(sizes):
                raise ValueError(f"'{name}' must be of length 'x'")
        share, start, radius = options["autopct"], options["startangle"], options["radius"]
        labels = [""] if options["labels"] is None else list(options["labels"])
        nowhere = (numpy.nan, numpy.nan)
        parts: list[list[Any]] = [[], []] if share is None else [[], [], []]
        if len(sizes):
            parts[0].append(
                own.add_patch(wedge(nowhere, radius, start, start, clip_on=False, label=labels[0]))
            )
            parts[1].append(own.text(*nowhere, labels[0]))
            if share is not None:
                parts[2].append(
                    own.text(*nowhere, share(numpy.nan) if callable(share) else share % numpy.nan)
                )
        if len(sizes) > 1:
            raise ValueError("cannot convert float NaN to integer")
        own.set(frame_on=False, xticks=[], yticks=[], xlim=(-1.25, 1.25), ylim=(-1.25, 1.25))
        return tuple(parts)

    axes.pie = pie


def hidden_ticks() -> None:
    """The places of ticks are computed whether or not these are shown, and fail where the axis has no numbers."""
    axis = importlib.import_module("matplotlib.axis").Axis
    update = axis._update_ticks

    def update_ticks(own: Any) -> Any:
        own.get_majorticklocs()
        own.get_minorticklocs()
        return update(own)

    axis._update_ticks = update_ticks


CHANGES = {
    change.name: change
    for change in (
        Change("python", (3, 12), "comprehensions see the names around them", comprehensions),
        Change("numpy", (2, 0), "names such as np.NaN are gone", names_of_numpy),
        Change("numpy", (2, 4), "float() and int() take no array but a scalar", one_number_in_an_array),
        Change("pandas", (3, 0), "columns of texts are no objects", texts),
        Change("pandas", (3, 0), "whole numbers in Series[...] are labels, not positions", positions),
        Change("pandas", (3, 0), "objects that are filled or replaced stay objects", numbers_among_objects),
        Change(
            "pandas", (3, 0), "a value of another type than its column's is refused", values_of_another_type
        ),
        Change("pandas", (3, 0), "names such as applymap and fillna's method are gone", names_of_pandas),
        Change("pandas", (3, 0), "float() and int() take no Series", one_number),
        Change("pandas", (3, 0), "a column that is changed is not its table's", columns_in_place),
        Change("matplotlib", (3, 11), "a pie is not drawn of objects, nor of nothing", pies),
        Change("matplotlib", (3, 11), "ticks that are not shown are not computed", hidden_ticks),
    )
}
"""By name, in the order in which they are undone."""


def _numbers(version: str) -> tuple[int, ...]:
    """`3.1.0rc1` is (3, 1, 0, 1)."""
    return tuple(map(int, re.findall(r"\d+", version)[:3]))
