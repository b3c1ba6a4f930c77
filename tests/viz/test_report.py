import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from segaware.viz import Report, curve_png


class Page(HTMLParser):
    """The tags of a page, in order, with their attributes, and all its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def of(self, *names):
        return [attributes for tag, attributes in self.tags if tag in names]


def written(report, tmp_path):
    report.write(tmp_path / "report.html")
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def picture(height=3, width=4, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def decoded(image):
    source = image["src"].removeprefix("data:image/png;base64,")
    return np.array(Image.open(io.BytesIO(base64.b64decode(source, validate=True))))


def test_pictures_decode_to_what_was_given(tmp_path):
    report = Report("title", "introduction")
    plot = curve_png({"a": [0.5, 0.6]}, [1, 2])
    report.picture(picture(), "first")
    report.gallery([("second", picture(2, 200, seed=1)), ("third", picture(seed=2))])
    report.picture(plot, "plot")
    images = Page(written(report, tmp_path)).of("img")
    assert [image["alt"] for image in images] == ["first", "second", "third", "plot"]
    for image, expected in zip(images, [picture(), picture(2, 200, seed=1), picture(seed=2)], strict=False):
        np.testing.assert_array_equal(decoded(image), expected)
    assert base64.b64decode(images[3]["src"].split(",")[1]) == plot
    assert [image.get("class") for image in images] == ["small", None, "small", None]


def test_all_text_is_escaped_and_nothing_is_loaded(tmp_path):
    evil = "<script>alert('1')</script> & \"x\""
    report = Report(evil, evil)
    report.heading(evil)
    report.paragraph(evil)
    report.table([evil, "n"], [[evil, 1]], evil)
    report.picture(picture(), evil)
    report.gallery([(evil, picture())])
    text = written(report, tmp_path)
    page = Page(text)
    assert not page.of("script", "iframe") and page.of("link") == [{"rel": "icon", "href": "data:,"}]
    assert "<script" not in text and "://" not in text and "@import" not in text and "url(" not in text
    assert page.text.count(evil) == 10  # title twice, two paragraphs, heading, head, cell and caption, two captions
    assert [image["alt"] for image in page.of("img")] == [evil, evil]
    assert all(image["src"].startswith("data:image/png;base64,") for image in page.of("img"))


def test_parts_keep_their_order_and_the_page_fits_a_phone(tmp_path):
    report = Report("Title é λ", "One.")
    report.heading("Two")
    report.paragraph("Three.")
    text = written(report, tmp_path)
    assert re.findall(r"Title é λ|One\.|Two|Three\.", Page(text).text) == ["Title é λ"] * 2 + ["One.", "Two", "Three."]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in Page(text).of("meta")
    assert "image-rendering: pixelated" in text and "width: 160px" in text


def test_numeric_columns_are_aligned_right(tmp_path):
    report = Report("title", "introduction")
    rows = [["a", 1, 0.1 + 0.2, "76.30", "12 px"], ["b", -20, np.float64(2), "-", "3"]]
    report.table(["name", "count", "float", "text", "mixed"], rows, "caption")
    text = written(report, tmp_path)
    classes = [cell.get("class") for cell in Page(text).of("th", "td")]
    assert classes == [None, "number", "number", "number", None] * 3
    assert re.findall(r"<td[^>]*>([^<]*)</td>", text) == ["a", "1", "0.3", "76.30", "12 px", "b", "-20", "2", "-", "3"]


def test_table_without_rows_keeps_its_headers(tmp_path):
    report = Report("title", "introduction")
    report.table(["name", "count"], [], "caption")
    assert len(Page(written(report, tmp_path)).of("th")) == 2


def test_write_replaces_the_file_and_leaves_no_other(tmp_path):
    written(Report("old", ""), tmp_path)
    assert "new" in written(Report("new", ""), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_failing_write_leaves_the_old_file(tmp_path, monkeypatch):
    old = written(Report("old", ""), tmp_path)

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        Report("new", "").write(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == old
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere"):
        Report("title", "").write(tmp_path / "nowhere" / "report.html")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda report: report.table(["a", "b"], [["x", 1], ["y"]], ""), r"rows must have 2 cells .* got \['y'\]"),
        (lambda report: report.picture(picture() / 255, "p"), "picture 'p' must be a uint8 array .* float64"),
        (lambda report: report.picture(picture()[0], "p"), "picture 'p' must be a uint8 array"),
        (lambda report: report.picture(b"GIF89a", "p"), "picture 'p' must be the content of a PNG file"),
        (lambda report: report.gallery([("p", picture()[..., 0])]), r"picture 'p' .* shape \(3, 4\)"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(Report("title", "introduction"))


def test_choices_are_photographs_with_a_box_and_a_button_that_saves(tmp_path):
    report = Report("title", "introduction")
    flat = np.full((200, 300, 3), 90, np.uint8)
    report.choices([("first", 12, flat, flat), ("second", 'a"<b>.png', flat, flat // 2)], "rejected.json")
    text = written(report, tmp_path)
    page = Page(text)
    boxes, sliders = page.of("input")[1::2], page.of("input")[::2]
    assert [json.loads(box["data-value"]) for box in boxes] == [12, 'a"<b>.png']
    assert all(box["type"] == "checkbox" and "checked" in box for box in boxes)
    assert [slider["data-stack"] for slider in sliders] == [stack["id"] for stack in page.of("div") if "id" in stack]
    assert [image["alt"] for image in page.of("img")][:3] == ["first: after", "first: before", "second: after"]
    source = page.of("img")[0]["src"].removeprefix("data:image/jpeg;base64,")
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(base64.b64decode(source, validate=True)))), flat)
    assert len(page.of("button")) == 1 and 'link.download = "rejected.json"' in text


def test_before_and_after_are_one_over_the_other(tmp_path):
    report = Report("title", "introduction")
    report.before_after(picture(), picture(seed=1), "<pair>")
    page = Page(written(report, tmp_path))
    after, before = page.of("img")
    np.testing.assert_array_equal(decoded(before), picture())
    np.testing.assert_array_equal(decoded(after), picture(seed=1))
    assert before["class"] == "left small" and before["alt"] == "<pair>: before"
    with pytest.raises(ValueError, match=r"'p' must have one size, got \(3, 4, 3\) and \(2, 4, 3\)"):
        report.before_after(picture(), picture(2), "p")
