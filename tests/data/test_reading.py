import tokenize

import pytest

from segaware.data import DataError, reading


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (tokenize.TokenError("EOF in\n  statement", (1, 0)), r"\('EOF in.*"),
        (KeyError(9), "KeyError: 9"),
        (IndexError("list index out of range"), "IndexError: list index out of range"),
        (ValueError("two\nlines"), "two lines"),
        (AssertionError(), "AssertionError"),
        (RecursionError("too deep"), "too deep"),
    ],
)
def test_whatever_a_library_raises_names_the_file_and_the_reason(error, reason):
    for problem, text in ((None, "cannot be read as an image"), ("has no end", "has no end")):
        with pytest.raises(DataError, match=rf"^a\.png: {text} \({reason}\)$"), reading("a.png", "an image", problem):
            raise error


def test_what_is_clear_already_stays_as_it_is():
    for error in (DataError("b.png: no such file"), MemoryError(), ModuleNotFoundError("cv2"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught, reading("a.png", "an image"):
            raise error
        assert caught.value is error
