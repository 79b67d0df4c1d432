"""Properties of the ground: closures against a model in sets, intake against any bytes."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ground.ingest.closure import Holding, compare
from ground.ingest.intake import Arrival, Greeting, Refusal, examine
from shared.messages import Manifest, Oooi, PartStream
from shared.sync.ranges import RangeSet
from tests.unit.ground.synthetic import OPERATOR, TAIL, Tail

SPANS = st.tuples(st.integers(0, 40), st.integers(0, 12)).map(lambda p: (p[0], p[0] + p[1]))
MARKS = st.sampled_from(["fork", "corrupt", "no_set"])


@given(
    parts=st.lists(SPANS, max_size=3),
    held=st.sets(st.integers(0, 60)),
    dropped=st.lists(SPANS, max_size=3),
    marks=st.dictionaries(st.integers(0, 60), MARKS, max_size=6),
)
def test_a_closure_says_what_sets_say(
    parts: list[tuple[int, int]],
    held: set[int],
    dropped: list[tuple[int, int]],
    marks: dict[int, str],
) -> None:
    marked = [(seq, mark) for seq, mark in marks.items() if seq in held]
    holding = Holding(
        RangeSet((seq, seq + 1) for seq in held), [(a, b, "disk") for a, b in dropped], marked
    )
    manifest = Manifest(
        1, OPERATOR, TAIL, "F", "flight", 1, 0, 1, Oooi(),
        [PartStream("e", "s", a, b) for a, b in parts], [], [], [1], b"", [], [],
    )  # fmt: skip
    found = compare(manifest, {("e", "s"): holding})
    said = {seq for a, b in parts for seq in range(a, b)}
    trusted = held - {seq for seq, _ in marked}
    gone = {seq for a, b in dropped for seq in range(a, b)} - held
    assert found.records == len(said & trusted)
    assert found.records_missing == len(said - trusted - gone)
    named = [seq for gap in found.gaps for seq in range(gap.low, gap.high)]
    assert sorted(named) == sorted(said - trusted)
    assert (found.state == "complete") is (said <= trusted)


TAIL_ONE = Tail()
SOUND = [TAIL_ONE.block("engine", 0, 5), TAIL_ONE.manifest(), TAIL_ONE.hello()]


@settings(max_examples=300)
@given(st.data())
def test_any_bytes_are_taken_or_refused_and_never_an_error(data: st.DataObject) -> None:
    name, sealed = data.draw(st.sampled_from(SOUND))
    if data.draw(st.booleans()):
        broken = bytearray(sealed)
        for _ in range(data.draw(st.integers(1, 4))):
            broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
        message = bytes(broken[: data.draw(st.integers(0, len(broken)))])
    else:
        message = data.draw(st.binary(max_size=300))
    subject = name if data.draw(st.booleans()) else data.draw(st.text(max_size=60))
    found = examine(subject, message, OPERATOR, {TAIL: TAIL_ONE.signer.public})
    assert isinstance(found, (Arrival, Greeting, Refusal))
    if isinstance(found, Arrival) and found.manifest is not None:
        assert found.envelope.payload in SOUND[1][1]
