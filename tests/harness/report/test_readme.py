"""The README's marks: what is between them is made, everything else stays as it was."""

import pytest

from harness.errors import RequestError
from harness.report.readme import fill_readme

PARTS = {"digits": "| table |\n", "verdicts": "so many\n"}


def test_everything_outside_the_marks_stays():
    text = (
        "# Title\r\n\n<!-- a comment -->\n<!-- command: main -->\n"
        "<!-- results: digits --><!-- results: end -->\ntrailing  \n"
        "<!-- results: verdicts -->\nold\n<!-- results: end -->"
    )
    made = fill_readme(text, PARTS)
    assert made == (
        "# Title\r\n\n<!-- a comment -->\n<!-- command: main -->\n"
        "<!-- results: digits -->\n| table |\n<!-- results: end -->\ntrailing  \n"
        "<!-- results: verdicts -->\nso many\n<!-- results: end -->"
    )
    assert fill_readme(made, PARTS) == made
    assert fill_readme("no marks\n", PARTS) == "no marks\n"


BEGIN, END = "<!-- results: digits -->", "<!-- results: end -->"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{BEGIN}\nby hand\n", f"{BEGIN} has no {END} after it"),
        # The second pair is whole, but what is before it was written by hand.
        (f"{BEGIN}\nby hand\n<!-- results: verdicts -->\n{END}", f"{BEGIN} has no {END}"),
        (f"a\n\nb {END}\n{BEGIN}\n{END}", f"line 3: {END} without a mark before it"),
        (f"{BEGIN}\n{END}\n{END}\n", f"line 3: {END} without a mark before it"),
        (f"{BEGIN}\n{END}\n{BEGIN}\n{END}", f"line 3: {BEGIN} is there twice"),
        (
            "<!-- results:digits -->\nx\n<!--results: end-->",
            "line 1: <!-- results:digits --> is no",
        ),
        (f"{BEGIN}\nx\n<!-- result: end -->", "line 3: <!-- result: end --> is no mark"),
        (f"{BEGIN}\nx\n<!-- RESULTS: END -->", "line 3: <!-- RESULTS: END --> is no mark"),
        (f"<!-- results: digit -->\nx\n{END}", "no records of 'digit'"),
    ],
)
def test_damaged_marks_are_refused_by_name(text, words):
    with pytest.raises(RequestError) as caught:
        fill_readme(text, PARTS)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
