from __future__ import annotations

from pathlib import Path

import pytest

from harness import content
from harness.errors import ContentError, UsageError


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


def test_files_beside_it_are_shared_code(own: Path) -> None:
    (own / "models" / "_parts.py").write_text("WIDTH = 8\n")
    (own / "models" / "whole.py").write_text("from _parts import WIDTH\n")
    assert content.load("model", "whole").WIDTH == 8


def test_two_folders_may_share_code_of_the_same_name_among_their_own_files(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    widths = []
    for width, folder in enumerate((own / "a", own / "b")):
        (folder / "models").mkdir(parents=True)
        (folder / "models" / "_parts.py").write_text(f"WIDTH = {width}\n")
        (folder / "models" / f"net{width}.py").write_text("from _parts import WIDTH\n")
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
