"""Tables as spreadsheets write them: read where they are clear, refused by line where they are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from latentedit.directions.io.spreadsheets import read_spreadsheet
from latentedit.errors import DirectionError


def table(tmp_path: Path, text: str, encoding: str = "utf-8") -> Path:
    path = tmp_path / "labels.csv"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "lines",
    [
        ["file,age,smile", "a.jpg,20.5,yes", "b.jpg,N/A,no", "c.jpg,,True"],
        ["file;age;smile", "a.jpg;20,5;yes", "b.jpg;#N/A;no", "c.jpg;-;True"],
        ["file\tage\tsmile", "a.jpg\t20,5\t1", "b.jpg\tnull\t0", "c.jpg\t?\t1"],
        ["file|age|smile", "a.jpg|20.5|1", "b.jpg|NaN|0", "c.jpg|none|1"],
        ['"file, of the photo",age,smile', '"a, b.jpg",20.5,1', "b.jpg,,0", "c.jpg,,1"],
    ],
)
def test_every_dialect_gives_the_same_numbers(tmp_path: Path, lines: list[str], end: str) -> None:
    found = read_spreadsheet(table(tmp_path, end.join(lines) + end))
    assert list(found.columns) == ["age", "smile"]
    np.testing.assert_array_equal(found.columns["age"], [20.5, np.nan, np.nan])
    np.testing.assert_array_equal(found.columns["smile"], [1, 0, 1])
    assert found.lines == (2, 3, 4)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_marks_of_the_encoding_are_no_part_of_a_name(tmp_path: Path, encoding: str) -> None:
    assert list(read_spreadsheet(table(tmp_path, "age\n3,5\n4\n", encoding)).columns) == ["age"]


def test_one_column_needs_no_separator_and_may_have_decimal_commas(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_spreadsheet(table(tmp_path, "age\n3,5\n-4\n")).columns["age"], [3.5, -4])


def test_a_row_without_labels_stays_a_row(tmp_path: Path) -> None:
    found = read_spreadsheet(table(tmp_path, "age,smile\n1,1\n,\n\n3,0\n"))
    np.testing.assert_array_equal(found.columns["age"], [1, np.nan, 3])
    assert found.lines == (2, 3, 5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("age,smile\n20,1\n20,5,1\n", r"Line 3 .* has 3 cells for 2 columns, separated by commas\. Are there decimal"),
        ("age;smile\n20;1;7\n", r"Line 2 .* has 3 cells for 2 columns, separated by semicolons"),
        ("age,smile\n20\n", "Line 2 .* has 1 cells for 2 columns"),
        ("age,smile\n20,1\n21,often\n", "Line 3 .* has 'often' in the column of numbers 'smile'"),
        ("age,smile\n20,1\n1_000,1\n", "Line 3 .* has '1_000'"),
        ("age,smile\n20,1\ninf,1\n", "Line 3 .* has 'inf'"),
        ('age,smile\n20,1\n"1,234",1\n', "Line 3 .* has '1,234'"),
        ("age;smile\n2.5;1\n2,5;1\n", r"'age' .* decimal points \(line 2\) and decimal commas \(line 3\)"),
        ("20,1\n30,0\n", "has no header"),
        ("age,age\n1,1\n", "has two columns 'age'"),
        ("", "is empty"),
    ],
)
def test_what_is_ambiguous_is_refused_by_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DirectionError, match=message):
        read_spreadsheet(table(tmp_path, text))


def test_missing_numbers_do_not_drop_a_column(tmp_path: Path) -> None:
    """One N/A among the ages used to make them text, and the fit went on without them."""
    ages = read_spreadsheet(table(tmp_path, "age,smile\n20,1\nN/A,0\n40,1\n")).columns["age"]
    np.testing.assert_array_equal(ages, [20, np.nan, 40])
