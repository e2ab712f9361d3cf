"""The command line: `accredit grow`, `resume`, `evaluate`, `report`."""

from accredit.cli.main import main as main
