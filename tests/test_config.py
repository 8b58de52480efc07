import pytest

from edge.config import Settings, load_settings
from edge.errors import ConfigError
from tests.conftest import ROOT

SHIPPED = sorted(p for p in (ROOT / "configs").glob("*.toml") if not p.name.startswith("train-"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.name)
def test_every_configuration_that_ships_is_valid(path):
    assert load_settings(path).models


def test_an_empty_file_means_the_defaults(tmp_path):
    (tmp_path / "x.toml").write_text("")
    assert load_settings(tmp_path / "x.toml") == Settings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("colour = 1", "colour: unknown key; allowed are camera, source, models"),
        ("[tracking]\nhigh = 1", "tracking.high: unknown key; allowed are .*high_score"),
        ("[detection]\nevery = 'a'", "detection.every: is 'a'; expected `int`, got `str`"),
        ("[detection]\nevery = 0", "detection.every: is 0; expected `int` >= 1"),
        ("[tracking]\nhigh_score = 2", "tracking.high_score: is 2; expected `float` <= 1.0"),
        ("[tracking]\nmax_lost_s = nan", "tracking.max_lost_s: is no finite number"),
        ("[tracking]\nmax_lost_s = inf", "tracking.max_lost_s: is no finite number"),
        ("models = []", r"models: is \[\]; expected `array` of length >= 1"),
        ("models = ['a', 3]", "models.1: is 3; expected `str`, got `int`"),
        ("[inference]\nbackend = 'x'", "inference.backend: is 'x'; allowed are auto, litert"),
        ("detection = 3", "detection: is 3; expected `object`, got `int`"),
        ("[budget]\nhot_c = 60.0", "budget.cool_c: is 68.0, more than hot_c, which is 60.0; lower"),
        ("[detection]\naside = 'no'", "detection.aside: is 'no'; allowed are auto, always, never"),
        ("camera =", "is no TOML"),
    ],
)
def test_a_bad_setting_names_file_key_value_and_what_is_allowed(tmp_path, text, message):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=rf"bad\.toml: {message}") as caught:
        load_settings(path)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 78


def test_a_file_that_is_not_there_or_not_text_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        load_settings(tmp_path / "none.toml")
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is no TOML"):
        load_settings(tmp_path / "x.toml")
