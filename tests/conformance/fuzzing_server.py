"""The Autobahn fuzzing server, for Python 2.7: fuzzing_server.py PACKAGES SPEC.json.

``wstest`` alone would listen on every interface and open a web server beside it.
"""

import functools
import site
import sys

site.addsitedir(sys.argv[1])  # reads the .pth files, without which the package ``zope`` is not found

from autobahntestsuite import wstest

from autobahntestsuite import fuzzing  # isort: skip

fuzzing.listenWS = functools.partial(fuzzing.listenWS, interface="127.0.0.1")
sys.argv = ["wstest", "--mode", "fuzzingserver", "--webport", "0", "--spec", sys.argv[2]]
wstest.run()
