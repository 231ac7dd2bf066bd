"""Why am I not getting data? Every step from the configuration to the store, looked at one after the other."""

from cryptofeed_cli.doctor.checks import Check, Verdict
from cryptofeed_cli.doctor.examination import NAMES, examine

__all__ = ["NAMES", "Check", "Verdict", "examine"]
