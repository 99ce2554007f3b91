"""Every block of code in the documentation runs, or is at least what its language says."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import tomllib
import yaml
from click import UsageError

from jobtastic_signals.cli import jobtastic
from tests.support.pages import DOCS, PAGES, ROOT, Block, all_blocks, blocks_of, name_of, write_files
from tests.support.servers import need
from tests.support.web.npm import npm_file

#: What is checked below, and what nobody runs.
LANGUAGES = {
    *(
        "python",
        "pycon",
        "html",
        "js",
        "jsx",
        "vue",
        "css",
        "yaml",
        "toml",
        "dockerfile",
        "console",
        "sh",
        "",
        "text",
    ),
    *("{eval-rst}", "{toctree}"),
}


def test_all_languages_are_known():
    used = {block.language for page in PAGES for block in blocks_of(page)}
    assert used - LANGUAGES == set()


def test_all_python_runs(tmp_path: Path):
    """Modules are imported, other blocks are executed, and the prompt answers as shown."""
    pages = [page for page in PAGES if any(b.language in ("python", "pycon") for b in blocks_of(page))]
    folders = [tmp_path / name_of(page).replace("/", "-") for page in pages]
    for page, folder in zip(pages, folders, strict=True):
        folder.mkdir()
        put_page(page, folder)
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.page_runner", *map(str, folders)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


#: The project of a page that shows none.
PROJECT = """
from celery import Celery
from jobtastic_signals import Jobtastic

app = celery_app = Celery("proj", broker="memory://", backend="cache+memory://")
app.conf.jobtastic_store = "memory://"
Jobtastic(app)

@app.task(herd_avoidance_timeout=60)
def report(customer):
    return f"{customer}: all is well"
"""


def put_page(page: Path, folder: Path) -> None:
    (folder / "proj.py").write_text(PROJECT)
    write_files(page, folder)
    unnamed = [block.code for block in blocks_of(page) if block.language == "python" and not block.file]
    (folder / "rest.json").write_text(json.dumps(unnamed[1:]))
    sessions = [block.code for block in blocks_of(page) if block.language == "pycon"]
    if sessions:
        (folder / "page.txt").write_text("\n".join(sessions))


@pytest.mark.parametrize("page", [page for page in PAGES if DOCS not in page.parents], ids=name_of)
def test_links_of_pages_beside_the_site_lead_somewhere(page: Path):
    """Sphinx checks those of the site."""
    targets = re.findall(r"\]\(((?!https?:|#)[^)#]+)(?:#([^)]+))?\)", page.read_text())
    for target, anchor in targets:
        found = page.parent / target
        assert found.exists(), target
        assert not anchor or anchor in anchors_of(found), f"{target}#{anchor}"


def anchors_of(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


class Balance(HTMLParser):
    """Finds elements that are closed wrongly, or not at all."""

    EMPTY = frozenset({"br", "hr", "img", "input", "link", "meta"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attributes):
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes another element"


def test_all_html_is_balanced():
    for block in all_blocks("html"):
        balance = Balance()
        balance.feed(block.code)
        balance.close()
        assert balance.open == [], name_of(block.page)


def test_all_javascript_is_javascript(tmp_path: Path):
    for number, block in enumerate(all_blocks("js")):
        script = tmp_path / f"{number}.mjs"
        script.write_text(block.code)
        done = subprocess.run([need("node"), "--check", script], capture_output=True, text=True)
        assert done.returncode == 0, name_of(block.page) + done.stderr


COMPILE = """
const fs = require("fs");
const [, , babel, vue, blocks] = process.argv;
const Babel = require(babel);
import(vue).then(({parse, compileScript, compileTemplate}) => {
  for (const [language, code] of JSON.parse(fs.readFileSync(blocks))) {
    if (language === "jsx") { Babel.transform(code, {presets: ["react"]}); continue; }
    const {descriptor, errors} = parse(code);
    if (errors.length) throw errors[0];
    compileScript(descriptor, {id: "x"});
    const made = compileTemplate({source: descriptor.template.content, filename: "x.vue", id: "x"});
    if (made.errors.length) throw made.errors[0];
  }
}).catch((error) => { console.error(error); process.exit(1); });
"""


@pytest.mark.thorough
def test_all_components_compile(tmp_path: Path):
    """By the compilers of React and Vue themselves."""
    (tmp_path / "babel.js").write_bytes(npm_file("babel", "babel.min.js"))
    (tmp_path / "vue.mjs").write_bytes(npm_file("vue-compiler", "dist/compiler-sfc.esm-browser.js"))
    (tmp_path / "compile.cjs").write_text(COMPILE)
    blocks = [(block.language, block.code) for block in all_blocks("jsx", "vue")]
    (tmp_path / "blocks.json").write_text(json.dumps(blocks))
    files = [str(tmp_path / name) for name in ("compile.cjs", "babel.js", "vue.mjs", "blocks.json")]
    done = subprocess.run([need("node"), *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(blocks) > 1


def test_all_css_has_declarations_in_braces():
    for block in all_blocks("css"):
        rules = [rule for rule in block.code.split("}") if rule.strip()]
        assert all(":" in rule.partition("{")[2] for rule in rules), name_of(block.page)


@pytest.mark.parametrize("block", all_blocks("yaml"), ids=lambda block: name_of(block.page))
def test_yaml_is_what_compose_and_kubernetes_read(block: Block):
    for document in yaml.safe_load_all(block.code):
        if "services" in document:
            check_compose(document)
        elif "apiVersion" in document:
            check_deployment(document)


def check_compose(document):
    services = document["services"]
    volumes = document.get("volumes") or {}
    for service in services.values():
        assert {"image", "build"} & service.keys()
        assert set(service.get("depends_on", ())) <= services.keys()
        for each in service.get("volumes", ()):
            source = each.partition(":")[0]
            assert source.startswith((".", "/")) or source in volumes


def check_deployment(document):
    spec = document["spec"]["template"]["spec"]
    assert document["metadata"]["name"]
    assert document["spec"]["selector"]["matchLabels"] == document["spec"]["template"]["metadata"]["labels"]
    assert all(container["image"] for container in spec["containers"])


def test_all_toml_is_toml():
    for block in all_blocks("toml"):
        tomllib.loads(block.code)


def test_dockerfiles_have_instructions():
    for block in all_blocks("dockerfile"):
        lines = [line for line in block.code.splitlines() if line and not line.startswith("#")]
        assert lines[0].startswith("FROM ")
        known = {"FROM", "WORKDIR", "RUN", "COPY", "USER", "CMD", "ENV", "EXPOSE"}
        assert {line.split()[0] for line in lines} <= known, name_of(block.page)


def commands() -> list[tuple[str, list[str]]]:
    """Each ``celery -A proj jobtastic ...`` that a page shows, as words, and where."""
    found = []
    for block in all_blocks("console", "sh", ""):
        for line in block.code.splitlines():
            _, ours, rest = line.removeprefix("$ ").partition(" jobtastic ")
            words = shlex.split(rest.replace("...", ""))
            if ours and words and "celery -A" in line and "COMMAND" not in words:
                found.append((name_of(block.page), words))
    return found


def test_all_commands_exist_and_take_these_options():
    assert commands()
    for page, (name, *words) in commands():
        try:
            jobtastic.commands[name].make_context(name, list(words))
        except (KeyError, UsageError) as error:
            pytest.fail(f"{page}: {name} {words}: {error}")


def test_all_shell_lines_are_shell():
    for block in all_blocks("sh", "console"):
        lines = [line for line in block.code.splitlines() if block.language == "sh" or line.startswith("$ ")]
        script = "\n".join(line.removeprefix("$ ") for line in lines)
        done = subprocess.run(["sh", "-n"], input=script, capture_output=True, text=True)
        assert done.returncode == 0, name_of(block.page) + done.stderr
