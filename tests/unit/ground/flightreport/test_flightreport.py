"""The printed report: what it says, and that both forms say it."""

import re
import zlib

import msgspec
import pytest

from ground.flightreport.contents import Sources, contents
from ground.paper.document import Document, Figure, Heading, Paragraph, Table, Verdict
from ground.paper.page import page
from ground.paper.pdf import pdf
from tests.unit.ground.flightreport import samples


@pytest.fixture(scope="module")
def document() -> Document:
    return contents(samples.sources())


def test_verdicts_stand_first_and_say_what_to_do(document: Document) -> None:
    first, second = document.blocks[:2]
    assert isinstance(first, Verdict) and isinstance(second, Verdict)
    assert (first.tone, first.label) == ("good", "HEALTHY")
    assert (second.tone, second.label) == ("bad", "DEGRADING")
    assert second.advice.startswith("Borescope")


def test_every_input_is_named_by_its_whole_hash(document: Document) -> None:
    cells = [
        cell for b in document.blocks if isinstance(b, Table) for row in b.rows for cell in row
    ]
    for one in samples.reconciliation().inputs:
        assert one.sha256 in cells


def test_a_gap_is_said_with_its_times_and_cause(document: Document) -> None:
    gap = next(b for b in document.blocks if isinstance(b, Table) and b.head[0] == "Gap")
    assert gap.rows == (("readings of ENG_1", "20:46:40 UTC to 20:47:52 UTC", "480",
                         "recorder down"),)  # fmt: skip


def test_a_flight_without_reconciliation_still_has_its_closure() -> None:
    whole = samples.sources()
    bare = Sources(tail=whole.tail, flight=whole.flight, made_ns=whole.made_ns,
                   closure=whole.closure, why_none="It is not a flight.")  # fmt: skip
    document = contents(bare)
    assert document.blocks[0] == Verdict("unknown", "NOT JUDGED", "No reconciliation of this flight",
                                         "It is not a flight.")  # fmt: skip
    assert Heading("What the ground holds of it") in document.blocks
    assert pdf(document, bare.made_ns).startswith(b"%PDF-")


def test_a_reconciliation_of_an_older_closure_says_so() -> None:
    whole = samples.sources()
    assert whole.closure is not None
    newer = msgspec.structs.replace(whole.closure, revision=3)
    said = contents(Sources(tail=whole.tail, flight=whole.flight, made_ns=whole.made_ns,
                            closure=newer, reconciliation=whole.reconciliation))  # fmt: skip
    text = " ".join(b.text for b in said.blocks if isinstance(b, Paragraph))
    assert "closure revision 2; the newest is 3" in text


def test_the_page_needs_no_network_and_runs_nothing(document: Document) -> None:
    text = page(document)
    assert "<script" not in text
    assert set(re.findall(r"https?://[^\"' >]*", text)) <= {"http://www.w3.org/2000/svg"}
    assert text.count("<svg") == 7


def test_names_from_outside_are_escaped() -> None:
    whole = samples.sources()
    case = samples.CaseLine("C-1", "maintenance", "open", "<img src=x onerror=alert(1)>", "", 0)
    text = page(contents(Sources(tail=whole.tail, flight=whole.flight, made_ns=0, cases=(case,))))
    assert "<img" not in text and "&lt;img" in text


def test_the_same_report_is_the_same_file(document: Document) -> None:
    made = samples.sources().made_ns
    first = pdf(document, made)
    assert first == pdf(document, made)
    assert first.startswith(b"%PDF-") and len(first) < 200_000


def test_letters_the_fonts_lack_do_not_stop_a_report() -> None:
    case = samples.CaseLine("C-1", "maintenance", "open", "Łódź 東京 ≤ 3 \x07", "", 0)
    assert pdf(contents(Sources(tail="T", flight="T-F1", made_ns=0, cases=(case,))), 0)


def test_page_and_paper_say_the_same(document: Document) -> None:
    paper = pdf(document, 0)
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", paper, re.S)
    drawn = b" ".join(zlib.decompress(s) for s in streams if s[:1] == b"x").decode("cp1252")
    text = page(document)
    said = [b.text for b in document.blocks if isinstance(b, Heading)]
    said += [b.label for b in document.blocks if isinstance(b, Verdict)]
    said += [b.chart.title for b in document.blocks if isinstance(b, Figure)]
    assert len(said) > 12
    for one in said:
        assert one in text and one.replace("(", "\\(").replace(")", "\\)") in drawn, one
