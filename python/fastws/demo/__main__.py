"""``python -m fastws.demo`` is ``python -m fastws demo``."""

from __future__ import annotations

from fastws.demo.runner import main

if __name__ == "__main__":
    raise SystemExit(main())
