"""The configuration: what each source may say, who wins, what is refused and in which words."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptofeed_cli.clock import DAY, HOUR, MILLISECOND, MINUTE, SECOND
from cryptofeed_cli.config import Flag, Settings, load, rules
from cryptofeed_cli.errors import ConfigurationError
from cryptofeed_cli.printable import escape

EXAMPLE = Path(__file__).parents[1] / "config.example.toml"
SECRET = "hunter2"  # noqa: S105 - the one that must never be shown


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty directory, with an empty home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)


def from_toml(text: str, *flags: Flag, **environ: str) -> Settings:
    path = Path("given.toml")
    path.write_text(text)
    return load(path, environ, flags)


def refusal(text: str, *flags: Flag, **environ: str) -> str:
    with pytest.raises(ConfigurationError) as refused:
        from_toml(text, *flags, **environ)
    assert refused.value.exit_code == 2
    return str(refused.value)


def test_the_example_holds_every_key_in_order_at_its_default() -> None:
    example = tomllib.loads(EXAMPLE.read_text())
    defaults = Settings(data_directory=Path("/nowhere"))

    assert [f"{table}.{key}" for table, keys in example.items() for key in keys] == list(rules())
    for dotted, rule in rules().items():
        table, key = dotted.split(".")
        assert rule.read(example[table][key]) == getattr(getattr(defaults, table), key), dotted


def test_every_key_of_the_example_has_a_comment_or_follows_one() -> None:
    bare = [line for line in EXAMPLE.read_text().splitlines() if " = " in line and "#" not in line]

    assert [line.split()[0] for line in bare] == ["business_url", "rest_url", "connect_timeout"]


def test_without_any_source_everything_is_a_default() -> None:
    settings = load(None, {})

    assert settings == Settings(data_directory=settings.data_directory)
    assert {origin for _, _, origin in settings.effective()} == {"default"}


def test_durations_sizes_and_absent_values_are_typed() -> None:
    settings = from_toml(
        """
        [record]
        tape_max = "500MB"
        [orderbook]
        interval = "0s"
        group = "0.50"
        [store]
        retention = "90d"
        outbox_max = "1 GiB"
        flush_interval = "100ms"
        """
    )

    assert settings.record.tape_max == 500_000_000
    assert settings.store.outbox_max == 1024**3
    assert settings.store.flush_interval == 100 * MILLISECOND
    assert settings.store.retention == 90 * DAY
    assert settings.orderbook.interval == 0
    assert settings.orderbook.group == "0.50"
    assert settings.network.proxy is None


def test_a_url_may_be_one_or_a_list_tried_in_turn() -> None:
    one = from_toml('okx.public_url = "wss://a/x"').okx.public_url
    several = from_toml('okx.public_url = ["wss://a/x", "ws://127.0.0.1:80/y"]').okx.public_url

    assert one == ("wss://a/x",)
    assert several == ("wss://a/x", "ws://127.0.0.1:80/y")


def test_a_list_in_the_environment_is_separated_by_commas() -> None:
    settings = load(None, {"CRYPTOFEED_RECORD_SYMBOLS": "BTC-USDT, ETH-USDT,,BTC-USDT"})

    assert settings.record.symbols == ("BTC-USDT", "ETH-USDT")


@pytest.mark.parametrize(("text", "value"), [("true", True), ("ON", True), ("1", True), ("no", False), ("0", False)])
def test_a_boolean_in_the_environment_is_a_word(text: str, value: bool) -> None:
    assert load(None, {"CRYPTOFEED_FAILOVER_SIMULATE": text}).failover.simulate is value


def test_every_key_can_be_set_by_the_environment() -> None:
    defaults = load(None, {})
    environ = {}
    for key, value, _ in defaults.effective():
        text = ",".join(value) if isinstance(value, list) else str(value)
        environ["CRYPTOFEED_" + key.replace(".", "_").upper()] = text
    settings = load(None, environ)

    assert settings.as_dict() == defaults.as_dict()
    assert {one.key: one.origin for one in settings.effective()} == dict(zip(rules(), environ, strict=True))


def test_a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default() -> None:
    file = """
        okx.silence = "1m"
        okx.reorder_grace = "2s"
        okx.ping_interval = "3s"
    """
    settings = from_toml(
        file,
        Flag("--silence", "okx.silence", "4m"),
        CRYPTOFEED_OKX_SILENCE="5m",
        CRYPTOFEED_OKX_REORDER_GRACE="6s",
    )

    assert (settings.okx.silence, settings.origin("okx.silence")) == (4 * MINUTE, "--silence")
    assert (settings.okx.reorder_grace, settings.origin("okx.reorder_grace")) == (
        6 * SECOND,
        "CRYPTOFEED_OKX_REORDER_GRACE",
    )
    assert (settings.okx.ping_interval, settings.origin("okx.ping_interval")) == (3 * SECOND, "given.toml")
    assert (settings.okx.backfill_limit, settings.origin("okx.backfill_limit")) == (3 * HOUR, "default")


def test_the_file_is_looked_for_in_four_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home" / "config"))

    def place(path: str, name: str) -> Path:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(f'record.name = "{name}"')
        return Path(path)

    import platformdirs

    place(f"{platformdirs.user_config_dir('cryptofeed')}/config.toml", "user")
    assert load(None, {}).record.name == "user"
    place("cryptofeed.toml", "directory")
    assert load(None, {}).record.name == "directory"
    named = place("named.toml", "named")
    assert load(None, {"CRYPTOFEED_CONFIG": str(named)}).record.name == "named"
    asked = place("asked.toml", "asked")
    assert load(asked, {"CRYPTOFEED_CONFIG": str(named)}).record.name == "asked"


def test_the_data_directory_comes_from_the_environment_or_the_platform(tmp_path: Path) -> None:
    named = load(None, {"CRYPTOFEED_DATA_DIR": "data"})
    default = load(None, {})

    assert named.data_directory == tmp_path / "data"
    assert named.store_url == f"sqlite:///{tmp_path}/data/market.db"
    assert default.data_directory.name == "cryptofeed"
    assert default.data_directory.is_relative_to(tmp_path / "home")
    assert not default.data_directory.exists()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            '[recrod]\nname = "x"',
            "given.toml: [recrod]: unknown table; known are record, orderbook, okx, network, store, failover, log; "
            "did you mean 'record'?",
        ),
        (
            '[log]\nlvel = "info"',
            "given.toml: log.lvel: unknown key; known are level, format, file; did you mean 'level'?",
        ),
        ("record = 5", "given.toml: record = 5: must be a table: [record]"),
        (
            '[okx]\nregion = "globl"',
            "given.toml: okx.region = \"globl\": must be one of global, eea, us, demo; did you mean 'global'?",
        ),
        (
            'record.channels = ["trades", "ticker"]',
            'given.toml: record.channels = ["trades", "ticker"]: must be one of trades, tickers, orderbooks, '
            "book_updates, or a list of such; did you mean 'tickers'?",
        ),
        ("record.channels = []", "given.toml: record.channels = []: must be one of trades, tickers, orderbooks, "
         "book_updates, or a list of such"),
        ('record.symbols = ["BTC USDT"]', 'given.toml: record.symbols = ["BTC USDT"]: must be an exchange\'s symbol '
         "such as BTC-USDT-SWAP, or a list of such"),
        ('record.redundancy = "2"', 'given.toml: record.redundancy = "2": must be a whole number from 1 to 16'),
        ("record.redundancy = 0", "given.toml: record.redundancy = 0: must be a whole number from 1 to 16"),
        ("record.redundancy = true", "given.toml: record.redundancy = true: must be a whole number from 1 to 16"),
        ("record.redundancy = 1.0", "given.toml: record.redundancy = 1.0: must be a whole number from 1 to 16"),
        ("orderbook.depth = 401", "given.toml: orderbook.depth = 401: must be a whole number from 1 to 400"),
        ("failover.simulate = 1", "given.toml: failover.simulate = 1: must be true or false"),
        ('failover.simulate = "true"', 'given.toml: failover.simulate = "true": must be true or false'),
        ("okx.rate_share = 0", "given.toml: okx.rate_share = 0: must be a number above 0 and at most 1"),
        ("okx.rate_share = 1.5", "given.toml: okx.rate_share = 1.5: must be a number above 0 and at most 1"),
        ("okx.rate_share = nan", "given.toml: okx.rate_share = nan: must be a number above 0 and at most 1"),
        (
            'okx.silence = "30"',
            'given.toml: okx.silence = "30": must be a duration above 0 such as "250ms", "5s", "10m", "2h", "7d"',
        ),
        (
            'okx.silence = "0s"',
            'given.toml: okx.silence = "0s": must be a duration above 0 such as "250ms", "5s", "10m", "2h", "7d"',
        ),
        (
            "okx.silence = 30",
            'given.toml: okx.silence = 30: must be a duration above 0 such as "250ms", "5s", "10m", "2h", "7d"',
        ),
        (
            'okx.silence = "999999999d"',
            'given.toml: okx.silence = "999999999d": must be a duration above 0 such as "250ms", "5s", "10m", "2h", '
            '"7d"',
        ),
        (
            'okx.ping_interval = "30s"',
            'given.toml: okx.ping_interval = "30s": must be a duration above 0 and below 30s such as "250ms", "5s", '
            '"10m", "2h", "7d"',
        ),
        (
            'store.outbox_max = "10"',
            'given.toml: store.outbox_max = "10": must be a size above 0 such as "500MB" or "10GiB" (kB MB GB TB, KiB '
            "MiB GiB TiB)",
        ),
        (
            'store.outbox_max = "0GiB"',
            'given.toml: store.outbox_max = "0GiB": must be a size above 0 such as "500MB" or "10GiB" (kB MB GB TB, '
            "KiB MiB GiB TiB)",
        ),
        (
            'store.url = "postgres://h/d"',
            'given.toml: store.url = "postgres://h/d": must be a URL such as sqlite:///relative.db, '
            "sqlite:////absolute.db or mongodb://host/database (sqlite, mongodb, mongodb+srv), or empty",
        ),
        (
            'okx.rest_url = "wss://h"',
            'given.toml: okx.rest_url = "wss://h": must be a URL such as https://www.okx.com (https, http), or a list '
            "of such",
        ),
        (
            'okx.public_url = ["wss://h:99999/"]',
            'given.toml: okx.public_url = ["wss://h:99999/"]: must be a URL such as wss://ws.okx.com/ws/v5/public '
            "(wss, ws), or a list of such",
        ),
        (
            'network.proxy = "127.0.0.1:1080"',
            'given.toml: network.proxy = "127.0.0.1:1080": must be a URL such as socks5h://127.0.0.1:1080 (http, '
            "socks4, socks4a, socks5, socks5h), or empty; no https: what goes through http:// is TLS all the same",
        ),
        (
            'network.proxy = "sock5://h:1"',
            'given.toml: network.proxy = "sock5://h:1": must be a URL such as socks5h://127.0.0.1:1080 (http, '
            "socks4, socks4a, socks5, socks5h), or empty; no https: what goes through http:// is TLS all the same; "
            "did you mean 'socks5'?",
        ),
        (
            'network.retry_initial = "1m"',
            'given.toml: network.retry_max = "30s": must be at least network.retry_initial ("1m")',
        ),
        (
            'orderbook.group = "1e3"',
            'given.toml: orderbook.group = "1e3": must be a price step such as "0.5" or "10", or empty',
        ),
        (
            'orderbook.group = "0.0"',
            'given.toml: orderbook.group = "0.0": must be a price step such as "0.5" or "10", or empty',
        ),
        ("record.name = 1979-05-27", "given.toml: record.name = 1979-05-27: must be text"),
        (r'record.name = "\u001b[2J"', r'given.toml: record.name = "\x1b[2J": must be text'),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named_with_its_place_value_and_the_way_out(text: str, line: str) -> None:
    assert refusal(text) == line


def test_a_wrong_variable_is_named() -> None:
    line = refusal("", CRYPTOFEED_ORDERBOOK_DEPTH="deep")

    assert line == 'CRYPTOFEED_ORDERBOOK_DEPTH: orderbook.depth = "deep": must be a whole number from 1 to 400'


def test_a_wrong_flag_is_named() -> None:
    line = refusal("", Flag("--redundancy", "record.redundancy", "-1"))

    assert line == '--redundancy: record.redundancy = "-1": must be a whole number from 1 to 16'


def test_an_unknown_variable_is_named_with_the_nearest_known_one() -> None:
    line = refusal("", CRYPTOFEED_STORE_URI="sqlite:///a.db")

    assert line.startswith("environment: CRYPTOFEED_STORE_URI: unknown variable; ")
    assert line.endswith("did you mean 'CRYPTOFEED_STORE_URL'?")


@pytest.mark.parametrize(
    "name", ["CRYPTOFEED_CAPTURES", "CRYPTOFEED_SERVICE_HOST", "CRYPTOFEED_PORT_80_TCP", "PATH", "OKX_REGION"]
)
def test_variables_that_are_no_configuration_are_left_alone(name: str) -> None:
    assert load(None, {name: "anything"}).origins == {}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"[record", "is not TOML: "),
        (b"record.name = '\xff'", "is not TOML: "),
        (b"[log]\n[log]\n", "is not TOML: "),
        (b"a = " + b"[" * 100_000, "is not TOML: "),
        (b"#" * (1024**2 + 1), "is larger than 1 MiB"),
    ],
    ids=["syntax", "encoding", "repetition", "nesting", "size"],
)
def test_a_file_that_is_no_configuration_is_refused(data: bytes, words: str) -> None:
    path = Path("broken.toml")
    path.write_bytes(data)

    with pytest.raises(ConfigurationError) as refused:
        load(path, {})

    assert str(refused.value).startswith(f"--config: broken.toml: {words}")
    assert "\n" not in str(refused.value)


def test_a_file_that_was_asked_for_must_be_there() -> None:
    with pytest.raises(ConfigurationError, match=r"^--config: absent.toml: cannot be read: No such file or directory$"):
        load(Path("absent.toml"), {})
    with pytest.raises(ConfigurationError, match=r"^CRYPTOFEED_CONFIG: \.: cannot be read: Is a directory$"):
        load(None, {"CRYPTOFEED_CONFIG": "."})


@pytest.mark.parametrize("key", ["store.url", "network.proxy"])
@pytest.mark.parametrize(
    "url",
    [
        f"{{scheme}}://user:{SECRET}@host:1/x",
        f"{{scheme}}://user:{SECRET}/with@slash@host:1/x",
        f"{{scheme}}://:{SECRET}@host:1",
        f"{{scheme}}://host:1/?tlsCertificateKeyFilePassword={SECRET}",
        f"{{scheme}}://host:1/?authMechanismProperties=AWS_SESSION_TOKEN:{SECRET}&x=y",
        f"user:{SECRET}@host:1",
        f"nothing://user:{SECRET} with blank@host",
    ],
)
def test_a_password_is_shown_nowhere(key: str, url: str) -> None:
    url = url.replace("{scheme}", "mongodb" if key == "store.url" else "socks5h")
    try:
        settings = load(None, {}, [Flag("--url", key, url)])
    except ConfigurationError as refused:
        shown = str(refused)
    else:
        shown = str(list(settings.effective())) + str(settings.as_dict())

    assert SECRET not in shown
    assert "***" in shown


def test_a_url_with_the_port_that_was_switched_off_is_warned_about() -> None:
    settings = from_toml('okx.business_url = ["wss://ws.okx.com:8443/ws/v5/business", "wss://ws.okx.com/ws/v5/business"]')

    assert settings.warnings == (
        'given.toml: okx.business_url = "wss://ws.okx.com:8443/ws/v5/business": port 8443 is switched off since '
        "2026-10-31; leave the port out",
    )


@given(st.integers(1, 10**15 - 1), st.sampled_from(["B", "kB", "KiB", "MB", "MiB", "GB", "GiB", "TB", "TiB"]))
def test_a_size_that_was_read_is_written_so_that_it_is_read_the_same(number: int, unit: str) -> None:
    rule = rules()["store.outbox_max"]
    size = rule.read(f"{number}{unit}")

    assert rule.read(rule.show(size)) == size


@given(st.sampled_from(sorted(rules())), st.text(st.characters(exclude_categories=())))
def test_whatever_the_environment_holds_is_taken_or_refused_in_one_line(key: str, text: str) -> None:
    line = ""
    try:
        load(Path("/dev/null"), {"CRYPTOFEED_" + key.replace(".", "_").upper(): text})
    except ConfigurationError as refused:
        line = str(refused)

    assert escape(line) == line
    assert key in line or not line


def test_importing_and_loading_creates_nothing(tmp_path: Path) -> None:
    load(None, {})

    assert list(tmp_path.rglob("*")) == []
