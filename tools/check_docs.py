#!/usr/bin/env python3
"""Checks the Markdown files of the repository against the repository itself.

Links within the repository lead to files that are there and to headings that they have, and each message
that docs/troubleshooting.md explains is one that the code can print. Links to other places are not
followed: `--list-external` prints them.
"""

import argparse
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
LINK = re.compile(r"!?\[[^\]]*\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#+ +(.*?) *#*$")
# Shorter pieces of a message would be found anywhere.
SHORTEST_PIECE = 10


def tracked(*patterns):
    """Files under version control, and new ones that are not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [path for name in sorted(set(names.splitlines())) if (path := ROOT / name).is_file()]


def prose(path):
    """The lines of a file with their numbers, without blocks of code."""
    code = False
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.lstrip().startswith("```"):
            code = not code
        elif not code:
            yield number, line


def anchors(path):
    """What `#...` may name in a file, as GitHub derives it from the headings."""
    found = {}
    for _, line in prose(path):
        if heading := HEADING.match(line):
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).lower()
            name = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
            count = found.get(name, 0)
            found[name] = count + 1
            yield f"{name}-{count}" if count else name


def links(path):
    """Places that a file leads to, with their lines; what stands in `code` is none."""
    for number, line in prose(path):
        # A link may have code as its text, so the code goes and its brackets stay.
        for target in LINK.findall(re.sub(r"`[^`]*`", "code", line)):
            yield number, target


def broken_links(files):
    for path in files:
        for number, target in links(path):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            there = (path.parent / name).resolve() if name else path
            place = f"{path.relative_to(ROOT)}:{number}: {target}"
            if not there.exists():
                yield f"{place}: there is no such file"
            elif not there.is_relative_to(ROOT):
                yield f"{place}: leads out of the repository"
            elif anchor and anchor not in anchors(there):
                yield f"{place}: there is no such heading"


def unknown_messages(page):
    """Lines of `page` whose message the code cannot print."""
    sources = []
    for path in tracked("src/*.rs", "kernels/src/*.rs", "models/src/*.rs", "tools/src/*.rs"):
        # A text goes on in the next line behind a backslash.
        text = re.sub(r"\\\n\s*", "", path.read_text(encoding="utf-8"))
        sources.append(text.replace('\\"', '"').replace("{{", "{").replace("}}", "}"))
    code = "\n".join(sources)
    for number, line in prose(page):
        if message := re.match(r"\| `([^`]+)` \|", line):
            for piece in message[1].split("…"):
                # Numbers and names are set between the fixed words.
                piece = piece.strip(" [],:;()")
                if len(piece) >= SHORTEST_PIECE and piece not in code:
                    yield f"{page.relative_to(ROOT)}:{number}: no source says '{piece}'"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list-external", action="store_true", help="print links to other places")
    arguments = parser.parse_args()
    files = tracked("*.md")
    if arguments.list_external:
        targets = {target for path in files for _, target in links(path)}
        print("\n".join(sorted(target for target in targets if re.match(r"https?:", target))))
        return 0
    problems = [*broken_links(files), *unknown_messages(ROOT / "docs/troubleshooting.md")]
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        print(f"{len(files)} documents, {sum(len(list(links(path))) for path in files)} links")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
