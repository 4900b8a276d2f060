#!/usr/bin/env bash
# The Autobahn test suite against fastws; `make conformance` calls this. ARGS are those of driver.py (--help).
#
# The suite runs on Python 2.7 only. AUTOBAHN_PYTHON names one; otherwise python2.7 on the PATH or one of pyenv is taken.
# Its packages are fetched once, into build/conformance/packages; the reports go to build/conformance/reports.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=$(cd "$here/../.." && pwd)/build/conformance
python=${PYTHON:-python3}

if ! "$python" -c 'import fastws' 2>/dev/null; then
	echo "conformance: $python has no fastws; PYTHON names an interpreter that has (make conformance builds one)" >&2
	exit 2
fi

find_python2() {
	local candidate
	if [ -n "${AUTOBAHN_PYTHON:-}" ]; then
		command -v "$AUTOBAHN_PYTHON" || echo "conformance: AUTOBAHN_PYTHON=$AUTOBAHN_PYTHON does not exist" >&2
		return
	fi
	for candidate in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/2.7*/bin/python2.7 "$(command -v python2.7 || true)"; do
		if [ -x "$candidate" ] && "$candidate" -m pip --version >/dev/null 2>&1; then
			echo "$candidate"
			return
		fi
	done
}

python2=$(find_python2)
if [ -z "$python2" ] || ! "$python2" -c 'import sys, pip; sys.exit(sys.version_info[:2] != (2, 7))' 2>/dev/null; then
	cat >&2 <<-END
		conformance: the Autobahn test suite needs CPython 2.7 with pip, and none was found.
		  pyenv install 2.7.18        (found by itself afterwards)
		  AUTOBAHN_PYTHON=/path/to/python2.7 make conformance
	END
	exit 2
fi

packages=$build/packages
if ! cmp -s "$here/requirements-python2.txt" "$packages/.requirements"; then
	echo "==> fetching the Autobahn test suite for $python2"
	rm -rf "$packages" && mkdir -p "$packages"
	"$python2" -m pip install --quiet --disable-pip-version-check --no-warn-script-location --target "$packages" \
		-r "$here/requirements-python2.txt" 2> >(grep -v DEPRECATION >&2)
	cp "$here/requirements-python2.txt" "$packages/.requirements"
fi

exec "$python" "$here/driver.py" --python2 "$python2" --packages "$packages" --reports "$build/reports" "$@"
