#!/usr/bin/env python3
"""Prints the one code block of a language that a Markdown page holds.

Usage: extract.py PAGE LANGUAGE

What the page shows is what is built, so the two cannot differ. No such block, or several, is an
error: then nobody knows which one the reader would take.
"""
import pathlib
import re
import sys


def main():
    page, language = sys.argv[1:]
    text = pathlib.Path(page).read_text()
    blocks = re.findall(rf"^```{re.escape(language)}\n(.*?)^```$", text, re.M | re.S)
    if len(blocks) != 1:
        sys.exit(f"extract: {page} holds {len(blocks)} blocks of {language}, not one")
    sys.stdout.write(blocks[0])


if __name__ == "__main__":
    main()
