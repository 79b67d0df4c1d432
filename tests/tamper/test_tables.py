"""`docs/security.md` says what the tests of this folder hold, word for word."""

from tests.tamper.tables import MARK, PAGE, TABLES, rewritten


def test_the_tables_of_the_security_page_are_those_of_the_tests() -> None:
    text = PAGE.read_text()
    assert {match[3] for match in MARK.finditer(text)} == set(TABLES)
    assert rewritten(text) == text, "python -m tests.tamper.tables"
