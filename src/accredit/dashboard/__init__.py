"""The live page: runs and attributions, in progress or finished, in a browser (extra `watch`)."""

from accredit.dashboard.address import Address
from accredit.dashboard.attribution import WatchedAttribution
from accredit.dashboard.run import WatchedRun
from accredit.dashboard.serve import watch
from accredit.dashboard.watched import Watched, watched

__all__ = ["Address", "Watched", "WatchedAttribution", "WatchedRun", "watch", "watched"]
