from __future__ import annotations

from pathlib import Path

import pytest

from harness import content
from harness.errors import ContentError, UsageError

MODEL = "TASK = 'tiny'\ndef build(weights, classes, shape): ...\n"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "models").mkdir()
    monkeypatch.setenv("HARNESS_CONTENT", str(tmp_path))
    return tmp_path


def test_the_folder_is_the_list_and_shared_code_is_not_listed(own: Path) -> None:
    (own / "models" / "mine.py").write_text('"""My network."""\nTASK = "tiny"\n')
    (own / "models" / "_shared.py").write_text("")
    assert "mine" in content.names("model")
    assert "_shared" not in content.names("model")
    assert content.summary("model", "mine") == "My network."


def test_a_users_file_comes_before_the_built_in_one_of_the_same_name(own: Path) -> None:
    (own / "models" / "tiny.py").write_text("TASK = 'mine'\n")
    assert content.find("model", "tiny") == own / "models" / "tiny.py"
    assert content.constant("model", "tiny", "TASK") == "mine"


def test_a_constant_is_read_without_running_the_file(own: Path) -> None:
    (own / "models" / "loud.py").write_text("TASK: str = 'tiny'\nraise SystemExit('ran')\n")
    assert content.constant("model", "loud", "TASK") == "tiny"


def test_a_constant_may_be_that_of_shared_code_beside_the_file(own: Path) -> None:
    (own / "sensors").mkdir()
    (own / "sensors" / "_both.py").write_text("OPTIONS = {'a': 'what it is'}\n")
    (own / "sensors" / "mine.py").write_text("import _both\nOPTIONS = _both.OPTIONS\nWINDOW_S = _gone.WINDOW_S\n")
    assert content.constant("sensor", "mine", "OPTIONS") == {"a": "what it is"}
    with pytest.raises(ContentError, match=r"mine\.py: must assign WINDOW_S a literal"):
        content.constant("sensor", "mine", "WINDOW_S")


def test_a_constant_that_may_be_missing_has_a_default(own: Path) -> None:
    (own / "models" / "bare.py").write_text("")
    assert content.constant("model", "bare", "PACKAGES", ()) == ()
    assert content.constant("model", "bert", "PACKAGES", ()) == ("transformers",)


def test_files_beside_it_are_shared_code(own: Path) -> None:
    (own / "models" / "_parts.py").write_text("WIDTH = 8\n")
    (own / "models" / "whole.py").write_text("from _parts import WIDTH\n" + MODEL)
    assert content.load("model", "whole").WIDTH == 8


def test_two_folders_may_share_code_of_the_same_name_among_their_own_files(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    widths = []
    for width, folder in enumerate((own / "a", own / "b")):
        (folder / "models").mkdir(parents=True)
        (folder / "models" / "_parts.py").write_text(f"WIDTH = {width}\n")
        (folder / "models" / f"net{width}.py").write_text("from _parts import WIDTH\n" + MODEL)
        monkeypatch.setenv("HARNESS_CONTENT", str(folder))
        widths.append(content.load("model", f"net{width}").WIDTH)
    assert widths == [0, 1]


def test_an_unknown_name_is_answered_with_the_nearest_before_anything_is_imported() -> None:
    with pytest.raises(UsageError, match='no model "tinny"; did you mean "tiny"\\?'):
        content.load("model", "tinny")


def test_a_name_cannot_leave_its_folder() -> None:
    with pytest.raises(UsageError, match="no model"):
        content.find("model", "../tests/conftest")


def test_a_file_without_its_constant_or_with_broken_syntax_is_a_content_error(own: Path) -> None:
    (own / "models" / "bare.py").write_text("")
    (own / "models" / "broken.py").write_text("def (:\n")
    with pytest.raises(ContentError, match=r"bare\.py: must assign TASK"):
        content.constant("model", "bare", "TASK")
    with pytest.raises(ContentError, match=r"broken\.py:1: not valid Python"):
        content.load("model", "broken")
    with pytest.raises(ContentError, match=r"broken\.py:1: not valid Python"):
        content.summary("model", "broken")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("import no_such_module\n", r"ugly\.py:1: ModuleNotFoundError: No module named 'no_such_module'"),
        ("WIDTH = 8\nWIDTH / 0\n", r"ugly\.py:2: ZeroDivisionError"),
        ("raise SystemExit('bye')\n", r"ugly\.py:1: SystemExit: bye"),
        ("import _beside\n", r"_beside\.py:3: KeyError: 'x'"),
        ("import _broken\n", r"_broken\.py:1: not valid Python"),
    ],
)
def test_whatever_a_file_raises_when_imported_is_told_with_its_place(own: Path, body: str, said: str) -> None:
    (own / "models" / "_beside.py").write_text("# shared\n\n{}['x']\n")
    (own / "models" / "_broken.py").write_text("def (:\n")
    (own / "models" / "ugly.py").write_text(body + MODEL)
    for _ in range(2):  # nothing half-imported is left behind
        with pytest.raises(ContentError, match=said):
            content.load("model", "ugly")


@pytest.mark.parametrize(
    ("kind", "body", "missing"),
    [
        ("model", "TASK = 'tiny'\n", "a model must define build, a function"),
        ("model", "def build(): ...\n", "a model must define TASK, a string"),
        (
            "task",
            "CLASSES = 0\nSHAPE = (3, 4, 4)\ndef load(d): ...\n",
            "a task must define CLASSES, a whole number above 0",
        ),
        ("task", "CLASSES = 4\nSHAPE = (3, 4, 4)\n", "a task must define load, a function"),
        (
            "task",
            "CLASSES = 4\nSHAPE = (9,)\nVOCABULARY = 0\ndef load(d): ...\n",
            "VOCABULARY, where a task has it, must be a whole number above 0",
        ),
        ("model", MODEL + "PACKAGES = 'nltk'\n", "PACKAGES, where a model has it, must be a tuple"),
        ("method", "TRAINS = True\ndef choose(s, r): ...\n", "a method must define Recipe, a dataclass"),
        ("method", "TRAINS = True\nclass Recipe: ...\n", "a method must define Recipe, a dataclass"),
        ("sensor", "def probe(o): ...\n", "a sensor must define WINDOW_S, a tuple of the least and the usual seconds"),
        (
            "sensor",
            "WINDOW_S, OPTIONS = (20, 5), {}\ndef probe(o): ...\n",
            "a sensor must define WINDOW_S, a tuple of the least and the usual seconds",
        ),
        ("sensor", "WINDOW_S, OPTIONS = (5, 20), {}\ndef probe(o): ...\n", "a sensor must define open, a function"),
        (
            "sensor",
            "WINDOW_S, OPTIONS, WHERE = (5, 20), {}, 'here'\ndef probe(o): ...\ndef open(o): ...\n",
            'WHERE, where a sensor has it, must be "device" or "controller"',
        ),
        ("runtime", "PRECISIONS = ('fp32',)\nOPTIONS = {}\n", "a runtime must define CONVERTERS, a tuple"),
    ],
)
def test_a_file_that_lacks_what_its_kind_must_define_is_named_with_what_is_missing(
    own: Path, kind: content.Kind, body: str, missing: str
) -> None:
    folder = content.folders(kind)[0]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "partial.py").write_text(body)
    with pytest.raises(ContentError, match=rf"partial\.py: {missing}") as caught:
        content.load(kind, "partial")
    assert kind in caught.value.hint


@pytest.mark.parametrize("name", ["control", "controls"])
def test_a_method_cannot_take_the_name_that_the_latency_controls_have(own: Path, name: str) -> None:
    (own / "methods").mkdir()
    (own / "methods" / f"{name}.py").write_text("")
    with pytest.raises(ContentError, match=rf'{name}\.py: no method can be called "{name}": .*latency controls'):
        content.load("method", name)
