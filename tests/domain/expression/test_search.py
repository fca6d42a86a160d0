"""SEARCH finds what AWS's documentation says it finds ("CloudWatch search expression syntax")."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bannister.domain.expression.parser import ExpressionError
from bannister.domain.expression.search import _parts, finds, search_of, words_of
from bannister.domain.expression.tree import Call, Number, Text
from bannister.domain.metric.identity import MetricIdentity, identity
from bannister.errors import Invalid

CPU = identity("AWS/EC2", "CPUUtilization", {"InstanceId": "i-1234567890123456"})
CUSTOM = identity("MyNamespace", "CustomCount1")
NETWORK = identity("App", "Network-Errors-2", {"Dimension Name": "t2.micro"})
NETWORK_CAMEL = identity("App", "NetworkErrors2")
ERRORS = identity("AWS/Lambda", "Errors", {"FunctionName": "ProjectA"})
INVOCATIONS = identity("AWS/Lambda", "Invocations", {"FunctionName": "ProjectB"})
ODD = identity("App", "Europe\\France Traffic(Network)")
NON_ASCII = identity("App", "Größe")
ALL = {
    "cpu": CPU,
    "custom": CUSTOM,
    "network": NETWORK,
    "camel": NETWORK_CAMEL,
    "errors": ERRORS,
    "invocations": INVOCATIONS,
    "odd": ODD,
    "size": NON_ASCII,
}


def call(text: str, statistic: str = "Sum") -> Call:
    return Call("SEARCH", (Text(text), Text(statistic), Number(60.0)))


FOUND: list[tuple[str, set[str]]] = [
    # parts of names, in any case
    ("count", {"custom"}),
    ("Count", {"custom"}),
    ("COUNT", {"custom"}),
    ("couNT", set()),
    ("customcount1", set()),
    ("utilization", {"cpu"}),
    ("errors", {"network", "camel", "errors"}),
    ("größe", {"size"}),
    # several parts in a row, as they are written
    ("CustomCount", {"custom"}),
    ("Count1", {"custom"}),
    ("customcount", set()),
    ("count1", set()),
    ("network/errors", {"network", "camel"}),
    ("network+errors", {"network", "camel"}),
    ("network-errors", {"network", "camel"}),
    ("Network_Errors", {"network", "camel"}),
    ("i-1234567890123456", {"cpu"}),
    # exact
    ('"CustomCount1"', {"custom"}),
    ('"customcount1"', set()),
    ('"Custom"', set()),
    ('"Network-Errors-2"', {"network"}),
    ('"Network_Errors_2"', set()),
    (r'"Europe\\France Traffic\(Network\)"', {"odd"}),
    # schema
    ("{AWS/EC2,InstanceId}", {"cpu"}),
    ("{AWS/EC2}", set()),
    ("{AWS/EC2,InstanceType}", set()),
    (' {AWS/EC2, InstanceId} MetricName="CPUUtilization" ', {"cpu"}),
    ('{AWS/Lambda, FunctionName}, MetricName="Errors"', {"errors"}),
    ('{"App", "Dimension Name"} network', {"network"}),
    ("{MyNamespace}", {"custom"}),
    # properties
    ('MetricName="Errors"', {"errors"}),
    ("MetricName=Errors", {"network", "camel", "errors"}),
    ("Namespace=AWS", {"cpu", "errors", "invocations"}),
    ("FunctionName=ProjectA", {"errors"}),
    ('"Dimension Name"=micro', {"network"}),
    ("InstanceId=nothing", set()),
    # AND, OR, NOT
    ("network AND errors", {"network", "camel"}),
    ("network errors", {"network", "camel"}),
    ("CPU OR Invocations", {"cpu", "invocations"}),
    ("NOT Namespace=AWS", {"custom", "network", "camel", "odd", "size"}),
    ("errors NOT network", {"errors"}),
    ("Namespace=AWS NOT CPU NOT ProjectB", {"errors"}),
    ("MetricName=\"Errors\" OR (MetricName=\"Invocations\" AND (ProjectA OR ProjectB))", {"errors", "invocations"}),
    ("CPU OR errors network", {"cpu", "network", "camel"}),
    ("(CPU OR errors) NOT (network OR ProjectA)", {"cpu"}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "names"), FOUND, ids=[text for text, _ in FOUND])
def test_finds(text: str, names: set[str]) -> None:
    search = search_of(call(text))
    assert {name for name, one in ALL.items() if finds(search, one)} == names


WRONG = [
    ("", "a schema in braces or a term"),
    ("  ", "a schema in braces or a term"),
    ("{AWS/EC2", "not closed by }"),
    ("{}", "a word is expected, not }"),
    ("(a", "a bracket is not closed"),
    ("a)", r"\) is not expected there"),
    ("a OR", "a word is expected, not the end"),
    ("NOT", "a word is expected, not the end"),
    ("AND a", "a word is expected, not AND"),
    ('"a', "a quotation mark is not closed"),
    ("a=", "a word is expected, not the end"),
    ("(" * 30 + "a", "more than 20 levels"),
    ("NOT " * 30 + "a", "more than 20 levels"),
    ("a" * 1025, "can have 1024 characters"),
]


@pytest.mark.parametrize(("text", "reason"), WRONG, ids=[str(n) for n in range(len(WRONG))])
def test_wrong_searches(text: str, reason: str) -> None:
    with pytest.raises(ExpressionError, match=reason):
        search_of(call(text))


def test_the_statistic_is_checked() -> None:
    with pytest.raises(Invalid, match="Foo is not a statistic"):
        search_of(call("a", "Foo"))


@given(
    st.one_of(st.text(max_size=30), st.text('ab1{}(),="\\ ANDORNOT', max_size=30)), st.sampled_from(list(ALL.values()))
)
def test_any_text_is_read_or_refused(text: str, metric: MetricIdentity) -> None:
    try:
        search = search_of(call(text))
    except ExpressionError:
        return
    assert finds(search, metric) in (True, False)


PARTS = [
    ("CustomCount1", ["Custom", "Count", "1"]),
    ("SDBFailure", ["SDB", "Failure"]),
    ("Project2-trial333", ["Project", "2", "trial", "333"]),
    ("couNT", ["cou", "NT"]),
    ("CPUUtilization", ["CPU", "Utilization"]),
    ("_-_", []),
    ("GrößeÄ", ["Größe", "Ä"]),
]


@pytest.mark.parametrize(("name", "parts"), PARTS, ids=[name for name, _ in PARTS])
def test_parts_of_names(name: str, parts: list[str]) -> None:
    assert _parts(name) == tuple(parts)


@pytest.mark.parametrize(
    ("text", "words"),
    [("count", 1), ("{App}", 1), ("a b c", 3), ("a OR (b NOT c) Namespace=d", 4), (" OR ".join("ab" * 85), 170)],
)
def test_the_words_of_a_search_are_counted(text: str, words: int) -> None:
    assert words_of(search_of(call(text))) == words
