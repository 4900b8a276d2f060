"""What our texts call a thing, in the words of a drop-in."""

import pytest

from fastws.compat._wording import Wording

WORDING = Wording({"max_frame_size": "max_size"}, tls={"ca": "ssl=context"}, proxy_tls={"ca": "proxy_ssl=context"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("over the limit of 10 bytes (max_frame_size)", "over the limit of 10 bytes (max_size)"),
        ("over the limit (max_fragments)", "over the limit"),
        ("pass it as TlsConfig(ca=...)", "pass it as ssl=context"),
        ("pass it as proxy_tls=TlsConfig(ca=...)", "pass it as proxy_ssl=context"),
        ("no key is among TlsConfig(pins=...)", "no key is among TlsConfig(pins=...)"),
        ("it has no parameter (max_heap)", "it has no parameter (max_heap)"),
    ],
)
def test_parameters_have_the_drop_ins_names(text, said):
    assert WORDING(text) == said
