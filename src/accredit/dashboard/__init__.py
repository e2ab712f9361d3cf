"""The live page: runs in progress or finished, in a browser (extra `watch`)."""

from accredit.dashboard.address import Address
from accredit.dashboard.run import WatchedRun
from accredit.dashboard.serve import watch

__all__ = ["Address", "WatchedRun", "watch"]
