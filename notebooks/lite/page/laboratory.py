"""What the page asks of Python. It runs in the browser, and as well outside of it, where it is tested."""

import ast
import contextlib
import gc
import inspect
import io
import json
import tempfile
import time
import traceback
from pathlib import Path
from types import FunctionType

import kernel
import numpy as np

import npwhisper
from npwhisper.compute import products
from npwhisper.tracing.swapping import find_layer
from npwhisper.whisper import default_model

EDITABLE = (
    "gelu",
    "softmax",
    "layer_norm",
    "linear",
    "embedding",
    "mlp",
    "attend",
    "self_attention",
    "encoder_block",
)
FILE = "<your code>"  # what tracebacks call it
_spaces: dict[str, dict] = {}  # what the cells of each assignment have defined
_model = None
_kernel = None  # the compiled product, once it has been compared with NumPy's


class PageError(ValueError):
    """What a person at the page did that cannot be done."""


def load(path):
    """Load a checkpoint in the place of the model before, and say what it is.

    Two models take twice the memory: the one before goes first. If the new one cannot be read, the embedded one is
    loaded when it is needed again.
    """
    global _model
    _model = None
    default_model.cache_clear()
    gc.collect()
    _model = npwhisper.load_model(path)
    return repr(_model)


def model():
    """The checkpoint that was opened, or else the embedded one."""
    return _model or default_model()


def about():
    """What the model is."""
    return repr(model())


def attach(multiply):
    """Let a compiled kernel compute all products from now on if it agrees with NumPy; its fault and speeds, as JSON."""
    global _kernel
    compiled = kernel.Kernel(multiply)
    if problem := kernel.fault(compiled):
        return json.dumps({"fault": problem})
    _kernel = compiled
    compute("simd")
    return json.dumps({"fault": "", **speed(kernel.MAIN, 0.05)})


def compute(by):
    """Choose what computes products: "simd" (the kernel) or "numpy"."""
    products.use(_kernel if by == "simd" else None)


def speed(name, seconds=0.1):
    """One of `kernel.SHAPES`, and how many GFLOP/s NumPy and the kernel reach there."""
    shape = kernel.SHAPES[name]
    by = {"numpy": np.matmul, "simd": _kernel}
    return {
        "name": name,
        "shape": shape[:3],
        **{k: kernel.speed(f, shape, seconds) for k, f in by.items()},
    }


def speeds():
    """`speed` of every shape, as JSON."""
    return json.dumps([speed(name) for name in kernel.SHAPES])


def sources():
    """The code of the layers that can be changed: a dict from their names."""
    found = {name: find_layer(name) for name in EDITABLE}
    return {
        name: without_doctest(inspect.getsource(inspect.unwrap(f)))
        for name, f in found.items()
        if f
    }


def without_doctest(source):
    """The source of a function without its decorators, and with the first paragraph of its docstring only."""
    function = ast.parse(source).body[0]
    lines = source.splitlines()
    body = function.body
    if (text := ast.get_docstring(function)) and len(body) > 1:
        summary = [f'    """{text.splitlines()[0]}"""']
        return "\n".join(
            [
                *lines[function.lineno - 1 : body[0].lineno - 1],
                *summary,
                *lines[body[1].lineno - 1 :],
            ]
        )
    return "\n".join(lines[function.lineno - 1 :])


def layers(code):
    """The layers that somebody's code defines, as functions: a dict from their names."""
    space = names_of_the_model()
    exec(compile(code, FILE, "exec"), space)
    own = {
        k: f
        for k, f in space.items()
        if isinstance(f, FunctionType) and f.__code__.co_filename == FILE
    }
    found = {name: function for name, function in own.items() if find_layer(name)}
    if not found:
        raise PageError(
            f"the code defines no layer: name the function {', '.join(EDITABLE)}, or as another layer"
        )
    return found


def names_of_the_model():
    """What the code of a layer may use: all that the package's own layers use."""
    space = {"np": np, "npwhisper": npwhisper}
    for name in EDITABLE:
        if layer := find_layer(name):
            space |= {
                k: v
                for k, v in vars(inspect.getmodule(inspect.unwrap(layer))).items()
                if k[:2] != "__"
            }
    return space


def swapped(code):
    """A context in which somebody's layers are in the network; without code, the network as it is."""
    return npwhisper.swap(layers(code)) if code else contextlib.nullcontext({})


def transcribe(samples, code, tell):
    """Transcribe, telling every segment as it comes; returns figures, as JSON."""
    start, tokens = time.perf_counter(), []
    with swapped(code) as calls:
        stream = model().iter_segments(samples)
        for segment in stream:
            tokens += segment["tokens"]
            tell(json.dumps({key: segment[key] for key in ("start", "end", "text", "tokens")}))
    took, language = time.perf_counter() - start, stream.language
    return json.dumps(
        {"seconds": took, "tokens": tokens, "language": language, "calls": sum(calls.values())}
    )


def glass(samples, code):
    """The glass box of a transcription: one page of HTML."""
    with tempfile.TemporaryDirectory() as folder, swapped(code):
        path = Path(folder, "glass.html")
        npwhisper.glass(samples, path, model(), title="your sound")
        return path.read_text(encoding="utf-8")


def run_cell(assignment, source):
    """Run one cell of an assignment: what it printed and showed, and whether all it checked is right, as JSON."""
    space = _spaces.setdefault(assignment, {"__name__": "__main__"})
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), one_model():
            value = evaluate(source, space)
    except BaseException as error:
        return json.dumps({"text": said.getvalue() + explain(error), "passed": False})
    passed = getattr(value, "passed", None)
    shown = said.getvalue() + ("" if value is None else str(value))
    return json.dumps({"text": shown, "passed": passed})


@contextlib.contextmanager
def one_model():
    """While a cell runs, `npwhisper.load_model()` is the embedded model that is in memory: each takes 150 MB."""
    read = npwhisper.load_model
    npwhisper.load_model = lambda *args, **options: (
        read(*args, **options) if args or options else default_model()
    )
    try:
        yield
    finally:
        npwhisper.load_model = read


def evaluate(source, space):
    """Run code as a notebook does: the value of a last line that is an expression is returned."""
    tree = ast.parse(source, FILE)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, FILE, "exec"), space)
    return last and eval(compile(ast.Expression(last.value), FILE, "eval"), space)


def explain(error):
    """An error in a line: its place in the person's code, and what it says; our own errors are sentences already."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == FILE]
    if isinstance(error, SyntaxError) and error.filename == FILE:
        lines, error = [error.lineno], type(error)(error.msg)
    place = f"line {lines[-1]}: " if lines else ""
    is_ours = isinstance(error, PageError) or type(error).__module__.startswith("npwhisper.")
    return f"{place}{error}" if is_ours else f"{place}{type(error).__name__}: {error}"


def answer(function, *args):
    """Call a function of this module; what goes wrong becomes a sentence instead of a traceback."""
    try:
        return json.dumps({"value": globals()[function](*args)})
    except Exception as error:
        return json.dumps({"error": explain(error)})
