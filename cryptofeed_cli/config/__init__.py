"""The configuration: typed settings, and where each value came from; knows nothing of what they are used for."""

from cryptofeed_cli.config.loading import Flag, data_directory, find_file, load
from cryptofeed_cli.config.rules import nearest
from cryptofeed_cli.config.settings import Effective, Settings, rules

__all__ = ["Effective", "Flag", "Settings", "data_directory", "find_file", "load", "nearest", "rules"]
