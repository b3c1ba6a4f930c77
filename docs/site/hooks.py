"""What MkDocs does beyond Markdown: it runs tutorials, writes the first page's photograph, knows links out of docs/."""

import logging
import re
import tempfile
from pathlib import Path

import tutorials
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from segaware.data import photograph
from segaware.nn import load_embedding
from segaware.showcase.explore.inputs import open_photograph, packaged_sketch
from segaware.showcase.explore.page import write_page

_logger = logging.getLogger("mkdocs.hooks")
_REPOSITORY = Path(__file__).parents[2]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the tutorials and their pictures, and the page that `segaware explore` writes."""
    for script in sorted(tutorials.FOLDER.glob("*.py")):
        _logger.info(f"Running {script.name}")
        with tempfile.TemporaryDirectory() as folder:
            page = tutorials.run(script, Path(folder))
            files.append(File.generated(config, f"tutorials/{script.stem}.md", content=page))
            for picture in Path(folder).glob("*.png"):
                files.append(File.generated(config, f"tutorials/{picture.name}", content=picture.read_bytes()))
    with tempfile.TemporaryDirectory() as folder:
        shown = Path(folder) / "cat.html"
        write_page(shown, open_photograph(photograph()), {"fast": load_embedding()}, [packaged_sketch()])
        files.append(File.generated(config, shown.name, content=shown.read_bytes()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to files of the repository outside docs/, which are not part of the site, into their names."""

    def name(link: re.Match[str]) -> str:
        if not (_REPOSITORY / link[1]).exists():
            _logger.warning(f"{page.file.src_uri} links to {link[0]}, which is not there")
        return f"`{link[1]}`"

    return re.sub(r"\[[^]]*\]\(\.\./([^)]*)\)", name, markdown) if "/" not in page.file.src_uri else markdown
