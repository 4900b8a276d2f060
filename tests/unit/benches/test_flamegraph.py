from collections import Counter
from xml.etree import ElementTree as ET

import flamegraph

START = ("python", "main", "uv__io_poll", "__pyx_f_6uvloop_4loop_6Handle__run")
SVG = "{http://www.w3.org/2000/svg}"
DRAWN = """<svg version="1.1" width="860" height="400" onload="init(evt)" xmlns="http://www.w3.org/2000/svg"
 xmlns:fg="http://example.com/fg"><defs/><style>text {}</style><script>alert()</script><rect fill="url(#background)"/>
<text id="title">T</text><text id="subtitle">S</text><text id="search">Search</text>
<svg id="frames" total_samples="10">
<g><title>all (10 samples, 100%)</title><rect fill="rgb(1,2,3)" fg:x="0"/><text>all</text></g>
<g><title>::look (10 samples, 100%)</title><rect fill="rgb(1,2,3)" fg:x="0"/><text>::look</text></g>
<g><title>kernel: recvfrom (5 samples, 50%)</title><rect fill="rgb(1,2,3)" fg:x="0"/><text>kern..</text></g>
</svg></svg>"""


def tidied(*frames):
    ((stack, count),) = flamegraph.tidied(Counter({(*START, *frames): 3})).items()
    assert count == 3
    return stack[1:]


def test_what_happens_before_the_loops_wake_up_is_left_out():
    assert not flamegraph.tidied(Counter({("python", "main", "import"): 5}))
    assert tidied("_PyLong_Add") == ("_PyLong_Add",)


def test_frames_have_the_names_that_our_sources_have():
    assert tidied(
        "pyo3::impl_::trampoline::noargs",
        "_core::hub::Hub::__pymethod__on_ready__",
        "_core::driver::<impl _core::conn::Conn>::receive",
        "_core::deliver::<impl _core::conn::Conn>::deliver",
        "_PyEval_EvalFrameDefault",
    ) == ("Hub::on_ready", "driver::receive", "::deliver", "the consumer's bytecode (_PyEval_EvalFrameDefault)")


def test_the_kernel_is_one_frame_and_what_it_copies():
    call = ("__libc_recv", "entry_SYSCALL_64_after_hwframe_[k]", "do_syscall_64_[k]", "__x64_sys_recvfrom_[k]")
    assert tidied(*call, "tcp_recvmsg_[k]") == ("__libc_recv", "kernel: recvfrom")
    assert tidied(*call, "tcp_recvmsg_[k]", "_copy_to_iter_[k]") == (
        "__libc_recv",
        "kernel: recvfrom",
        "kernel: copy to user",
    )


def test_interrupts_are_counted_apart_from_what_they_struck():
    assert tidied("_PyLong_Add", "asm_sysvec_apic_timer_interrupt_[k]", "handle_softirqs_[k]") == (
        "kernel: interrupts",
    )


def test_the_picture_runs_nothing_and_has_its_colours_from_whose_code_it_is():
    root = ET.fromstring(flamegraph.restyled(DRAWN, "a title", "a subtitle"))
    frames = next(element for element in root if element.get("id") == "frames")
    assert [(g.find(f"{SVG}text").text, g.find(f"{SVG}rect").attrib) for g in frames] == [
        ("look", {"class": "ours"}),
        ("kern..", {"class": "kernel"}),
    ]
    assert not list(root.iter(f"{SVG}script"))
    assert "onload" not in root.attrib
    assert root.findtext(f"{SVG}title") == "a title"
    assert root.findtext(f"{SVG}desc") == "a subtitle. Frames: look, kernel: recvfrom."


def test_the_committed_picture_counts_samples():
    picture = (flamegraph.ROOT / "docs" / "benchmarks" / "async-for.svg").read_text(encoding="utf-8")
    titles = [title.text for title in ET.fromstring(picture).iter(f"{SVG}title") if "%)" in (title.text or "")]
    assert len(titles) > 10
    assert all(" samples, " in title for title in titles), titles[:3]
