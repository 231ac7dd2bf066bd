"""``python -m cryptofeed_cli`` is ``cryptofeed``."""

from cryptofeed_cli.cli import main

if __name__ == "__main__":
    main()
