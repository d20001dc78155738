"""Settings: a slip is an error that names the variable, a secret is never shown."""

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

from collector import settings
from collector.errors import ConfigurationError
from collector.model import Channel

SECRET = "hunter2-s3cret"  # noqa: S105  nobody's
VARIABLES = [name for name, _ in settings.variable_names()]
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in a folder without `.env`, with no variable of ours set."""
    for name in list(os.environ):
        if name.upper().startswith(settings.PREFIX) or name.upper() == "REDIS_URL":
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    """Return what `load` says about `variables`."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        settings.load()
    return str(caught.value)


class TestDefaults:
    def test_promised_defaults(self):
        """With nothing set, the values are those the interface promises."""
        found = settings.load()
        assert found.redis_url.get_secret_value() == ""
        assert found.data_dir == Path("data")
        assert found.exchange.websocket_url == "wss://ws-api.bithumb.com/websocket/v1"
        assert found.exchange.rest_url == "https://api.bithumb.com"
        assert found.exchange.protocol == "current"
        assert found.markets == ("KRW-*",)
        assert found.channels == (Channel.TICKER, Channel.ORDERBOOK, Channel.TRADE)
        assert found.redundancy == 2
        assert (found.shard_index, found.shard_count) == (0, 1)

    def test_immutable(self):
        """Settings do not change after the start, in no section."""
        found = settings.load()
        with pytest.raises(ValidationError):
            found.redundancy = 3
        with pytest.raises(ValidationError):
            found.batch.max_rows = 3

    def test_every_setting_is_described(self):
        """Each variable has a sentence, and the reference page is made from them."""
        assert [name for name, field in settings.variable_names() if not field.description] == []
        assert (ROOT / "docs" / "settings.md").read_text().strip() == settings.reference().strip()

    def test_defaults_pass_their_own_checks(self, monkeypatch):
        """Every default, written out as a variable, is accepted and changes nothing."""
        plain = settings.load()
        for name, field in settings.variable_names():
            value = field.get_default()
            if name != "REDIS_URL":
                monkeypatch.setenv(name, ",".join(value) if isinstance(value, tuple) else str(value))
        assert settings.load() == plain


class TestSources:
    def test_environment_before_env_file(self, monkeypatch, empty_folder):
        """A variable of the process wins over `.env`; an empty one stands for the default."""
        (empty_folder / ".env").write_text("COLLECTOR_BATCH__MAX_ROWS=8\nCOLLECTOR_SHARD='2/3'\nOTHER=1\n")
        monkeypatch.setenv("COLLECTOR_BATCH__MAX_ROWS", "9")
        monkeypatch.setenv("COLLECTOR_SHARD", "")
        found = settings.load()
        assert (found.batch.max_rows, found.shard_index, found.shard_count) == (9, 0, 1)

    @pytest.mark.parametrize("name", ["REDIS_URL", "redis_url"])
    def test_an_empty_address_means_the_private_server_whatever_the_env_file_says(
        self, monkeypatch, empty_folder, name
    ):
        """`REDIS_URL= collector up` beside a `.env` for production does not touch production."""
        (empty_folder / ".env").write_text("REDIS_URL=redis://production/0\nCOLLECTOR_REDUNDANCY=1\n")
        assert settings.load().redis_url.get_secret_value() == "redis://production/0"
        monkeypatch.setenv(name, "")
        found = settings.load()
        assert (found.redis_url.get_secret_value(), found.redundancy) == ("", 1)

    def test_a_setting_that_was_renamed_keeps_its_old_name(self, monkeypatch, empty_folder):
        """In the environment, in `.env` and in code; the new name wins where both are set."""
        (empty_folder / ".env").write_text("COLLECTOR_BATCH__SHARDS=4\n")
        monkeypatch.setenv("COLLECTOR_CONNECTION__REST_MS", "3")
        found = settings.load()
        assert (found.batch.trade_queues, found.connection.coalesce_ms) == (4, 3)
        monkeypatch.setenv("COLLECTOR_CONNECTION__COALESCE_MS", "5")
        assert settings.load().connection.coalesce_ms == 5
        assert settings.BatchSettings.model_validate({"shards": 2}).trade_queues == 2
        known = {name for name, _ in settings.variable_names()}
        assert set(settings.old_names().values()) <= known

    def test_case_and_spaces_do_not_matter(self, monkeypatch):
        """Lists may have spaces, names any case."""
        monkeypatch.setenv("collector_markets", " btc , BTC-* ")
        monkeypatch.setenv("COLLECTOR_CHANNELS", "trade,")
        found = settings.load()
        assert (found.markets, found.channels) == (("btc", "BTC-*"), (Channel.TRADE,))

    def test_home_folder(self, monkeypatch, empty_folder):
        """`~` in `.env`, which no shell reads, is the home folder and not a folder of that name."""
        monkeypatch.setenv("HOME", str(empty_folder))
        (empty_folder / ".env").write_text("COLLECTOR_DATA_DIR=~/market\n")
        assert settings.load().data_dir == empty_folder / "market"

    def test_unreadable_env_file(self, empty_folder):
        """A `.env` that is not text is an error in one line."""
        (empty_folder / ".env").write_bytes(b"\xff\xfe\x00bad")
        with pytest.raises(ConfigurationError, match=r"\.env cannot be read"):
            settings.load()


class TestUnknown:
    @pytest.mark.parametrize(
        ("name", "hint"),
        [
            ("COLLECTOR_MARKET", "COLLECTOR_MARKETS"),
            ("COLLECTOR_BATCH__MAX_ROW", "COLLECTOR_BATCH__MAX_ROWS"),
            ("COLLECTOR_BATCH_MAX_ROWS", "COLLECTOR_BATCH__MAX_ROWS"),
            ("COLLECTOR_BATCH__MAX_ROWS__X", "COLLECTOR_BATCH__MAX_ROWS"),
            ("collector_shart", "COLLECTOR_SHARD"),
            ("COLLECTOR_REDIS_URL", "REDIS_URL"),
        ],
    )
    def test_slip_is_named_with_the_right_spelling(self, monkeypatch, empty_folder, name, hint):
        """An unknown variable is refused, in the environment and in `.env`, and the near one is suggested."""
        (empty_folder / ".env").write_text(f"{name}=1\n")
        in_file = refusal(monkeypatch)
        (empty_folder / ".env").unlink()
        assert (
            in_file == refusal(monkeypatch, **{name: "1"}) == f"{name} is not a setting: did you mean {hint}?"
        )

    @pytest.mark.parametrize("value", ["{}", "nonsense", '{"max_rows": 3}'])
    def test_a_section_is_no_variable(self, monkeypatch, value):
        """A whole section cannot be set at once: there is one way to set each value."""
        assert "COLLECTOR_BATCH is not a setting" in refusal(monkeypatch, COLLECTOR_BATCH=value)

    def test_all_slips_at_once(self, monkeypatch):
        """Two unknown variables are told in one go."""
        sentence = refusal(monkeypatch, COLLECTOR_A="1", COLLECTOR_QQQQQQ__ZZZ="2")
        assert "COLLECTOR_A is" in sentence
        assert "COLLECTOR_QQQQQQ__ZZZ is not a setting: `collector check` lists all settings" in sentence

    def test_other_programs_variables(self, monkeypatch, empty_folder):
        """Variables without our prefix are none of our business."""
        monkeypatch.setenv("COLLECTORS_ITEM", "1")
        (empty_folder / ".env").write_text("POSTGRES_URL=x\n")
        settings.load()


class TestRanges:
    @pytest.mark.parametrize(
        ("name", "value", "word"),
        [
            ("COLLECTOR_BATCH__MAX_ROWS", "0", "greater than or equal to 1"),
            ("COLLECTOR_BATCH__MAX_ROWS", "1.5", "integer"),
            ("COLLECTOR_BATCH__MAX_ROWS", "many", "integer"),
            ("COLLECTOR_REDUNDANCY", "9", "less than or equal to 4"),
            ("COLLECTOR_PRESSURE__HOLD_S", "nan", "finite"),
            ("COLLECTOR_CONNECTION__STALL_MIN_S", "inf", "finite"),
            ("COLLECTOR_CONNECTION__PING_INTERVAL_S", "60", "less than or equal to 30"),
            ("COLLECTOR_CHANNELS", "ticker,bogus", "'ticker', 'orderbook' or 'trade'"),
            ("COLLECTOR_CHANNELS", " , ", "empty list"),
            ("COLLECTOR_MARKETS", "krw-btc-eth", "'krw-btc-eth' is not a market"),
            ("COLLECTOR_MARKETS", "KRW-BTC;KRW-ETH", "not a market"),
            ("COLLECTOR_TIME_ZONE", "Asia/Seol", "not a time zone like Asia/Seoul"),
            ("COLLECTOR_TIME_ZONE", "+09:00", "not a time zone"),
            ("COLLECTOR_TIME_ZONE", "/etc/localtime", "not a time zone"),
            ("COLLECTOR_TIME_ZONE", "Asia", "not a time zone"),
            ("COLLECTOR_SHARD", "3/2", "must not be above"),
            ("COLLECTOR_SHARD", "0/2", "pattern"),
            ("COLLECTOR_EXCHANGE__PROTOCOL", "v3", "'current' or 'legacy'"),
            ("COLLECTOR_EXCHANGE__WEBSOCKET_URL", "https://x", "ws:// or wss://"),
            ("COLLECTOR_EXCHANGE__WEBSOCKET_URL", "wss:///no-host", "ws:// or wss://"),
            ("COLLECTOR_EXCHANGE__REST_URL", "https://x:port", "broken host or port"),
            ("COLLECTOR_STORE__KEY_PREFIX", "a{b}", "pattern"),
            ("COLLECTOR_WORKER__ANALYSIS_RATE_LIMIT", "fast", "'fast' is not a rate: write 50/s, 5/m or 1/h"),
            ("COLLECTOR_WORKER__ANALYSIS_RATE_LIMIT", "0/s", "'0/s' is not a rate"),
        ],
    )
    def test_value_out_of_range_names_the_variable(self, monkeypatch, name, value, word):
        """A value that cannot be is refused with the variable's name and what would be right."""
        sentence = refusal(monkeypatch, **{name: value})
        assert sentence.startswith(f"{name}: ")
        assert word in sentence
        assert "\n" not in sentence

    @pytest.mark.parametrize(
        ("low", "high"),
        [(f"COLLECTOR_{s}__{a}".upper(), f"COLLECTOR_{s}__{b}".upper()) for s, a, b in settings._ORDERED],
    )
    def test_marks_the_wrong_way_round(self, monkeypatch, low, high):
        """A low mark that is not below its high one is refused, both variables named."""
        defaults = {name: field.get_default() for name, field in settings.variable_names()}
        sentence = refusal(monkeypatch, **{low: str(defaults[high])})
        assert f"{low} (" in sentence
        assert " must be below " in sentence

    @given(
        st.sampled_from([name for name in VARIABLES if name != "COLLECTOR_DATA_DIR"]),
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
        | st.decimals(allow_nan=True, allow_infinity=True).map(str),
    )
    @hypothesis_settings(max_examples=300, deadline=None)
    def test_any_text_is_a_value_or_one_clear_error(self, name, value):
        """Whatever stands in a variable, it is a finite value or an error that names the variable."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(name, value)
            try:
                outcome = settings.load().model_dump_json()
            except ConfigurationError as error:
                outcome = str(error)
                assert name in outcome
            assert not re.search(r":(NaN|-?Infinity)\b", outcome)

    @pytest.mark.parametrize("name", ["COLLECTOR_REDIS__TLS_CA_FILE", "COLLECTOR_MARKETS", "REDIS_URL"])
    def test_bytes_that_are_no_text(self, monkeypatch, name):
        """A variable with other bytes than UTF-8 is named; `.env`, which is not there, is not."""
        sentence = refusal(monkeypatch, **{name: os.fsdecode(b"\xed\xffL")})
        assert name in sentence
        assert ".env" not in sentence


class TestSecrets:
    @pytest.mark.parametrize("scheme", ["redis", "rediss"])
    def test_never_shown(self, monkeypatch, scheme):
        """The password is in no text form of the settings, yet there for the client."""
        url = f"{scheme}://user:{SECRET}@redis.example:6379/0"
        monkeypatch.setenv("REDIS_URL", url)
        found = settings.load()
        assert found.redis_url.get_secret_value() == url
        for shown in (
            repr(found),
            str(found),
            str(found.model_dump()),
            found.model_dump_json(),
            f"{found!r:.9999}",
        ):
            assert SECRET not in shown

    @pytest.mark.parametrize(
        ("written", "usual"),
        [
            (f"redis://h?db=1&username=me&password={SECRET}", f"redis://me:{SECRET}@h/1"),
            (
                f"rediss://h/2?password={SECRET}&ssl_cert_reqs=required",
                f"rediss://:{SECRET}@h/2?ssl_cert_reqs=required",
            ),
            (f"redis://h?DB=1&UserName=me&PASSWORD={SECRET}", f"redis://me:{SECRET}@h/1"),
            (f"redis://me:{SECRET}@h/0?password=other", f"redis://me:{SECRET}@h/0"),
            (f"unix:///run/r.sock?db=2&password={SECRET}", f"unix://:{SECRET}@/run/r.sock?db=2"),
            (
                f"sentinel://a:1?password={SECRET};sentinel://b:2/0",
                f"sentinel://:{SECRET}@a:1;sentinel://b:2/0",
            ),
            ("redis+socket:///run/r.sock?virtual_host=1", "redis+socket:///run/r.sock?virtual_host=1"),
        ],
    )
    def test_credentials_stand_where_every_reader_looks_for_them(self, monkeypatch, written, usual):
        """Celery does not read them behind the question mark, and Flower would show them there."""
        monkeypatch.setenv("REDIS_URL", written)
        assert settings.load().redis_url.get_secret_value() == usual

    @pytest.mark.parametrize(
        "url",
        [
            f"http://:{SECRET}@h/0",
            f"redis://:{SECRET}",
            f"redis://:{SECRET}@[h/0",
            f"redis://:{SECRET}@h:99999999",
            f"redis://:{SECRET}\u2100@h",
            f"rediss://user:a/{SECRET}@h:x",
            f"redis://:{SECRET}@h/0?socket_timeout=3",
            f"redis://h/0?pass={SECRET}",
            f"redis://h/0?{SECRET}",
            f"redis://h/{SECRET}",
            f"redis://:{SECRET}@h?db=one",
            f"redis://:?{SECRET}@h/0",
            f"redis://:{SECRET}@h/0?ssl_ca_certs=ca.pem",
            f"sentinel://h:1;sentinel://i:1/0?foo={SECRET}",
            SECRET,
        ],
    )
    def test_not_in_errors(self, monkeypatch, url):
        """A broken address is refused by name, and no part of it is repeated."""
        sentence = refusal(monkeypatch, REDIS_URL=url)
        assert sentence.startswith("REDIS_URL: ")
        assert SECRET not in sentence

    @pytest.mark.parametrize(
        ("name", "scheme"),
        [("COLLECTOR_EXCHANGE__REST_URL", "https"), ("COLLECTOR_EXCHANGE__WEBSOCKET_URL", "wss")],
    )
    def test_not_in_an_address_that_logs_show(self, monkeypatch, name, scheme):
        """The exchange asks for no password, and logs show its addresses: one with a password is refused."""
        sentence = refusal(monkeypatch, **{name: f"{scheme}://user:{SECRET}@api.example"})
        assert sentence.startswith(f"{name}: must not contain a user or a password")
        assert SECRET not in sentence

    @pytest.mark.parametrize(
        "query",
        ["ssl_cert_reqs=none", "ssl_cert_reqs=CERT_OPTIONAL", "db=1&ssl_check_hostname=False"],
    )
    def test_tls_cannot_be_taken_unchecked(self, monkeypatch, query):
        """An address that tells the client to believe any server is refused, and the way out is named."""
        sentence = refusal(monkeypatch, REDIS_URL=f"rediss://:{SECRET}@h:6380/0?{query}")
        assert "COLLECTOR_REDIS__TLS_CA_FILE" in sentence
        assert SECRET not in sentence

    @pytest.mark.parametrize(
        "url",
        [
            "redis://127.0.0.1:6379/0",
            "redis:///0",
            "rediss://user:p%40ss@h:6380/0?ssl_cert_reqs=required",
            "unix:///run/redis.sock?db=1",
            "redis+socket:///run/redis.sock",
            "sentinel://h1:26379;sentinel://h2:26379",
        ],
    )
    def test_addresses_that_celery_knows(self, monkeypatch, url):
        """TLS, ACL users, socket files and sentinels are accepted as they are."""
        monkeypatch.setenv("REDIS_URL", url)
        assert settings.load().redis_url.get_secret_value() == url
