"""A flame graph of one client in one scenario: where its core's time goes, from the loop's wake-up to the consumer.

``perf`` samples the process by the CPU's clock, kernel included, and ``inferno`` folds and draws. Between the two the
stacks are cut at the loop's wake-up, so that starting and importing are left out, and frames get the names that our
sources have. The picture keeps no script, takes its colours from whose code a frame is, and follows light and dark
mode.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from xml.etree import ElementTree as ET

import clients
import machine
import peer
import scenarios

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
TOOLS = ROOT / "build" / "tools" / "bin"
SVG = "http://www.w3.org/2000/svg"
FREQUENCY = 1999
"""Samples a second; a prime, so that nothing periodic is in step with it."""
STACK = 16384
"""Bytes of stack kept with each sample, to unwind without frame pointers."""
WIDTH = 720
THINNEST = 0.3
"""Percent; frames that are thinner are left out of the picture."""

WAKE_UP = "uv__io_poll"
"""libuv's wait for events and what it calls: the root of the picture."""
INTERRUPT = re.compile(r"(asm_)?(sysvec|common_interrupt|exc)_")
SYSCALL = re.compile(r"entry_SYSCALL_64|do_syscall_64")
PASSED = re.compile(
    r"__pyx_f_6uvloop_4loop_6Handle__run|__Pyx_PyObject|pyo3::impl_::|cfunction_vectorcall|PyObject_CallOneArg"
)
"""Frames that only call the next one: what little is their own is counted as their caller's."""
NAMES = {
    WAKE_UP: "uvloop: a socket is readable",
    "__pyx_f_6uvloop_4loop___on_uvpoll_event": "uvloop: on_uvpoll_event",
    "_PyEval_EvalFrameDefault": "the consumer's bytecode (_PyEval_EvalFrameDefault)",
}
OURS = "::"
"""Marks a name of ours that has lost its module, until the picture is drawn."""
OWNERS = (
    ("kernel", re.compile(r".*_\[k\]$|kernel: ")),
    ("ours", re.compile(r".*::")),
    ("uvloop", re.compile(r"uvloop: |uv_|__pyx_|__Pyx_")),
    ("libc", re.compile(r"__mem|__libc_|__tls_|__GI_|_int_|malloc|free|cfree|realloc|recv|send|epoll_")),
    ("python", re.compile(r".")),
)
WHOSE = {"ours": "fastws", "python": "CPython", "uvloop": "uvloop", "libc": "libc", "kernel": "kernel"}

STYLE = """
text { font: 11px ui-monospace, "DejaVu Sans Mono", monospace; fill: #16191d; }
#title { font: 600 15px system-ui, "DejaVu Sans", sans-serif; text-anchor: middle; fill: #1f2328; }
#subtitle, .legend { font: 12px system-ui, "DejaVu Sans", sans-serif; fill: #59636e; }
#subtitle { text-anchor: middle; }
rect { stroke: #fff; stroke-width: .6; }
.ours { fill: #86b6f5; } .python { fill: #f0c674; } .uvloop { fill: #a8d5a2; } .libc { fill: #d9b8e8; }
.kernel { fill: #c3c9d0; }
@media (prefers-color-scheme: dark) {
  #title { fill: #e6edf3; } #subtitle, .legend { fill: #9aa4af; } rect { stroke: #1e2129; }
  .ours { fill: #5c93dc; } .python { fill: #c79a3f; } .uvloop { fill: #76a870; } .libc { fill: #ab86bd; }
  .kernel { fill: #858d96; }
}
"""


class CannotDraw(Exception):
    """Why there is no picture."""


def tool(name: str, install: str) -> str:
    found = shutil.which(name, path=f"{TOOLS}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        raise CannotDraw(f"no {name} found: {install}")
    return found


# ---- samples ---------------------------------------------------------------------------------------------------------


def record(client: type[clients.Client], scenario: scenarios.Scenario, scale: float, data: Path) -> None:
    """Runs the measurement on a core of its own under perf."""
    core, _ = machine.cores()
    command = [tool("perf", "Debian/Ubuntu: apt install linux-perf"), "record", "--quiet", "-e", "cpu-clock"]
    command += ["-F", str(FREQUENCY), "--call-graph", f"dwarf,{STACK}", "-o", str(data), "--"]
    command += [sys.executable, str(HERE / "measure.py"), client.name, scenario.name, "--scale", str(scale)]
    command += [] if core is None else ["--core", str(core)]
    with peer.running() as server:
        done = subprocess.run(command, input=json.dumps(asdict(server)), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise CannotDraw(f"perf: {lines[-1]}")


def folded(data: Path) -> Counter[tuple[str, ...]]:
    """How many samples each stack has, outermost frame first."""
    collapse = tool("inferno-collapse-perf", "cargo install inferno --root build/tools")
    script = [tool("perf", ""), "script", "--no-inline", "-F", "comm,pid,tid,time,event,ip,sym,dso", "-i", str(data)]
    text = subprocess.run(script, capture_output=True, check=True).stdout
    lines = subprocess.run([collapse, "--kernel"], input=text, capture_output=True, check=True).stdout.decode()
    stacks: Counter[tuple[str, ...]] = Counter()
    for line in lines.splitlines():
        stack, _, count = line.rpartition(" ")
        stacks[tuple(stack.split(";"))] += int(count)
    return stacks


def tidied(stacks: Counter[tuple[str, ...]]) -> Counter[tuple[str, ...]]:
    """What happens from the loop's wake-up on, with our names."""
    found: Counter[tuple[str, ...]] = Counter()
    for stack, count in stacks.items():
        if WAKE_UP in stack:
            found[tuple(tidy(stack[stack.index(WAKE_UP) :]))] += count
    return found


def tidy(stack: tuple[str, ...]) -> list[str]:
    for at, frame in enumerate(stack):
        if INTERRUPT.match(frame):
            # It struck the program by chance: the time is the core's, the place means nothing.
            return [NAMES[WAKE_UP], "kernel: interrupts"]
        if SYSCALL.match(frame):
            return [*named(stack[:at]), *in_kernel(stack[at:])]
    return named(stack)


def named(stack: tuple[str, ...]) -> list[str]:
    return [NAMES.get(frame, shortened(frame)) for frame in stack if not PASSED.match(frame)]


def in_kernel(stack: tuple[str, ...]) -> list[str]:
    """The call, and the one thing in it that is worth a name: copying."""
    frames = [frame.removesuffix("_[k]") for frame in stack]
    call = next((frame for frame in frames if frame.startswith("__x64_sys_")), "")
    name = f"kernel: {call.removeprefix('__x64_sys_')}" if call else "kernel: entry and exit"
    return [name, "kernel: copy to user"] if "_copy_to_iter" in frames else [name]


def shortened(frame: str) -> str:
    """``_core::driver::<impl _core::conn::Conn>::receive`` is ``driver::receive``: the last two parts are kept."""
    frame = re.sub(r"<impl [^<>]*(<[^<>]*>)?[^<>]*>::", "", frame)
    frame = re.sub(r"<([\w:]+) as [\w:<>]+>", r"\1", frame)
    parts = re.sub(r"__pymethod_+(\w+?)__$", r"\1", frame).split("::")
    if len(parts) > 1 and parts[-1].startswith(parts[-2]):
        return f"{OURS}{parts[-1]}"
    return "::".join(parts[-2:])


# ---- the picture -----------------------------------------------------------------------------------------------------


def draw(stacks: Counter[tuple[str, ...]], title: str, subtitle: str) -> str:
    flamegraph = tool("inferno-flamegraph", "cargo install inferno --root build/tools")
    lines = "\n".join(sorted(f"{';'.join(stack)} {count}" for stack, count in stacks.items()))
    command = [flamegraph, "--title", title, "--subtitle", subtitle, "--width", str(WIDTH), "--minwidth", str(THINNEST)]
    command += [
        "--deterministic",
        "--truncate-text-right",
        "--fontsize",
        "11",
        "--fontwidth",
        "0.62",
        "--countname",
        "samples",
    ]
    done = subprocess.run(command, input=lines.encode(), capture_output=True, check=False)
    if done.returncode != 0:
        raise CannotDraw(done.stderr.decode().strip())
    return restyled(done.stdout.decode(), title, subtitle)


def restyled(picture: str, title: str, subtitle: str) -> str:
    """Without script and buttons; coloured by owner; with a legend and words for those who do not see it."""
    ET.register_namespace("", SVG)
    root = ET.fromstring(picture)
    for element in list(root):
        kept = element.get("id") in ("title", "subtitle", "frames") or element.tag.endswith("style")
        if not kept:
            root.remove(element)
    for name in ("onload", "version"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    names: dict[str, None] = {}
    for element in root.iter():
        for name in [name for name in element.attrib if name.startswith("{") or name in ("fill", "total_samples")]:
            del element.attrib[name]
        if element.tag.endswith("style"):
            element.text = STYLE
    frames = next(element for element in root if element.get("id") == "frames")
    for group in list(frames):
        if group.findtext(f"{{{SVG}}}title", "").startswith("all ("):
            frames.remove(group)
    for group in frames:
        name = group.findtext(f"{{{SVG}}}title", "").partition(" (")[0]
        rect = group.find(f"{{{SVG}}}rect")
        if rect is not None:
            rect.set("class", owner(name))
            names[name.removeprefix(OURS)] = None
        for words in group:
            words.text = (words.text or "").lstrip(":") or None
    height = float(root.get("height", "0"))
    x = 12.0
    for name, whose in WHOSE.items():
        ET.SubElement(
            root,
            f"{{{SVG}}}rect",
            {"class": name, "x": f"{x:g}", "y": f"{height - 22:g}", "width": "12", "height": "12"},
        )
        words = ET.SubElement(root, f"{{{SVG}}}text", {"class": "legend", "x": f"{x + 17:g}", "y": f"{height - 12:g}"})
        words.text = whose
        x += 17 + 7 * len(whose) + 22
    for tag, words_of in (("desc", f"{subtitle}. Frames: {', '.join(names)}."), ("title", title)):
        element = ET.Element(f"{{{SVG}}}{tag}")
        element.text = words_of
        root.insert(0, element)
    return ET.tostring(root, encoding="unicode").replace("<g>", "\n<g>") + "\n"


def owner(frame: str) -> str:
    return next(name for name, pattern in OWNERS if pattern.match(frame))


def shares(stacks: Counter[tuple[str, ...]]) -> str:
    """Each frame's own time and that with what it calls, in percent of the picture, the largest first."""
    total = sum(stacks.values())
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for stack, count in stacks.items():
        own[stack[-1]] += count
        for frame in set(stack):
            whole[frame] += count
    lines = [f"{'own':>6}  {'whole':>6}  frame"]
    lines += [
        f"{own[name] / total:6.1%}  {count / total:6.1%}  {name.removeprefix(OURS)}"
        for name, count in whole.most_common()
        if count >= total / 100
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make flamegraph ARGS=…", description=__doc__.splitlines()[0])
    parser.add_argument("--client", default=clients.FastwsIterate.name, choices=[client.name for client in clients.ALL])
    parser.add_argument(
        "--scenario", default="ingest 128 B TCP", choices=[s.name for s in scenarios.ALL], metavar="NAME"
    )
    parser.add_argument("--scale", type=float, default=3.0, help="times the scenario's operations (default: 3)")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "benchmarks" / "async-for.svg", metavar="PATH")
    parser.add_argument("--data", type=Path, metavar="PATH", help="draw this recording of perf's, make none")
    args = parser.parse_args()
    scenario = next(s for s in scenarios.ALL if s.name == args.scenario)
    try:
        data = args.data
        if data is None:
            data = ROOT / "build" / "bench" / "perf.data"
            data.parent.mkdir(parents=True, exist_ok=True)
            record(clients.named(args.client), scenario, args.scale, data)
        stacks = tidied(folded(data))
        if not stacks:
            raise CannotDraw(f"no sample of {len(folded(data))} stacks is below {WAKE_UP}")
        title = f"{args.client}: {scenario.name}"
        python = f"CPython {sys.version_info.major}.{sys.version_info.minor}"
        subtitle = f"CPU time by function, user and kernel, from the loop's wake-up on; {python}, uvloop"
        picture = draw(stacks, title, subtitle)
    except CannotDraw as error:
        print(error, file=sys.stderr)
        return 1
    args.output.write_text(picture, encoding="utf-8")
    print(shares(stacks))
    print(f"\n{args.output}: {len(picture) // 1024} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
