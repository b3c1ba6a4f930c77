"""A second engine opens the page. It reports to a server of the test, for Firefox has no driver of its own."""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from segaware.data import photograph
from segaware.nn import Embedding
from segaware.showcase.explore.inputs import open_photograph, packaged_sketch
from segaware.showcase.explore.page import write_page

FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")
PROBE = """<script>
const problems = [];
window.addEventListener("error", (event) => problems.push(event.message));
window.addEventListener("unhandledrejection", (event) => problems.push(String(event.reason)));
document.addEventListener("securitypolicyviolation", (event) => problems.push(event.violatedDirective));
const watch = setInterval(() => {
  if (!document.body?.dataset.ready || sharpening) return;
  clearInterval(watch);
  const changed = results[0].after.filter((label, i) => label !== results[0].before[i]).length;
  const masks = look.shown.values.map((each) => each.reduce((a, b) => a + b) / each.length);
  fetch("/report", {method: "POST", body: JSON.stringify({problems, changed, masks, status: $("status").textContent})});
}, 200);
</script>"""


@pytest.mark.skipif(FIREFOX is None, reason="wants Firefox: apt-get install firefox-esr")
def test_firefox_opens_it(fast: Embedding, tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", open_photograph(photograph()), {"fast": fast}, [packaged_sketch()])
    page = (tmp_path / "page.html").read_text("utf-8")
    assert page.count("default-src 'none'") == 1  # nothing is fetched but what this test adds
    page = page.replace("default-src 'none'", "default-src 'none'; connect-src 'self'").replace(
        "<title>", PROBE + "<title>"
    )
    reports: queue.Queue[dict] = queue.Queue()

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(page.encode())

        def do_POST(self) -> None:
            reports.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (tmp_path / "profile").mkdir()
    browser = subprocess.Popen(
        [FIREFOX, "--headless", "--no-remote", "--profile", tmp_path / "profile", f"http://127.0.0.1:{server.server_port}/"],
        env={**os.environ, "HOME": str(tmp_path)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        report = reports.get(timeout=200)
    finally:
        browser.terminate()
        browser.wait(30)
        server.shutdown()
    assert report["problems"] == [] and report["status"].startswith("Sharpened")
    assert 100 < report["changed"] < 20_000
    assert all(0.01 < mask < 0.9 for mask in report["masks"])
