"""Shell text without a shell: what is understood, what is reported, and that nothing is run."""

from __future__ import annotations

import shutil
import subprocess
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyparrot.config import shell

ENVIRONMENT = {"HOME": "/home/me", "SITE": "T2", "EMPTY": ""}


def values(text: str) -> dict[str, str]:
    """The assignments of a text in which all is understood."""
    parsed = shell.parse(text, ENVIRONMENT, "FILE")
    assert parsed.problems == ()
    return {name: value for name, value, _ in parsed.assignments}


def problems(text: str) -> list[tuple[int, str]]:
    return [(line, why) for _, line, _, why in shell.parse(text, ENVIRONMENT, "FILE").problems]


def assigned(text: str) -> dict[str, str]:
    parsed = shell.parse(text, ENVIRONMENT, "FILE")
    return {name: value for name, value, _ in parsed.assignments}


VALUES = [
    ("A=b", "b"),
    ("A=", ""),
    ("  A=b  # comment", "b"),
    ("A=b#c", "b#c"),
    ("export A=b", "b"),
    ("readonly A=b", "b"),
    ("export B A=b", "b"),
    ("A=b;", "b"),
    ("A=a; A=b", "b"),
    ("A=a A=b", "b"),
    ("A='x y'", "x y"),
    ('A="x y"', "x y"),
    ("A='x'\"y\"z", "xyz"),
    ("A=x\\ y", "x y"),
    ('A="x\\"y\\\\z\\q"', 'x"y\\z\\q'),
    ("A='x\\'", "x\\"),
    ("A=x\\\ny", "xy"),
    ('A="x\\\ny"', "xy"),
    ('A="x\ny"', "x\ny"),
    ("A=b\r\n", "b"),
    ("A=a=b", "a=b"),
    ("A=@fqrn@", "@fqrn@"),
    ("A=http://a/b?c=d,e%20%25", "http://a/b?c=d,e%20%25"),
    ('A="http://a;http://b|http://c"', "http://a;http://b|http://c"),
    ("A=$SITE", "T2"),
    ("A=$SITE.x", "T2.x"),
    ("A=${SITE}x", "T2x"),
    ('A="$SITE x"', "T2 x"),
    ("A='$SITE'", "$SITE"),
    ('A="\\$SITE"', "$SITE"),
    ("A=$NO", ""),
    ("A=a$", "a$"),
    ('A="$ x"', "$ x"),
    ("B=b; A=$B$B", "bb"),
    ("SITE=x; A=$SITE", "x"),
    ("A=${NO:-x}", "x"),
    ("A=${EMPTY:-x}", "x"),
    ("A=${EMPTY-x}", ""),
    ("A=${SITE:-x}", "T2"),
    ("A=${NO:-}", ""),
    ("A=${NO:-x y}", "x y"),
    ("A=${NO:-'x}y'}", "x}y"),
    ("A=\"${NO:-'x'}\"", "'x'"),
    ('A="${NO:-"x"}"', "x"),
    ("A=${NO:-${EMPTY:-$SITE}}", "T2"),
    ("A=${SITE:+x}", "x"),
    ("A=${EMPTY:+x}", ""),
    ("A=${EMPTY+x}", "x"),
    ("A=${NO:=x}${NO}", "xx"),
    (": ${A:=x}", "x"),
    ("A=~/cache", "/home/me/cache"),
    ("A=~/a:~/b", "/home/me/a:/home/me/b"),
    ("A='~/a'", "~/a"),
    ("A=a~", "a~"),
    ("A=\udcff\u00e9", "\udcff\u00e9"),
]


@pytest.mark.parametrize(("text", "value"), VALUES)
def test_values(text: str, value: str) -> None:
    assert values(text)["A"] == value


@pytest.mark.skipif(not shutil.which("dash"), reason="no dash to compare with")
@pytest.mark.parametrize("text", [text for text, _ in VALUES if "\udcff" not in text])
def test_a_shell_agrees(text: str) -> None:
    script = text.replace("\r", "") + '\nprintf %s "$A"'
    shown = subprocess.run(
        ["dash", "-c", script], env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    assert shown.stdout == values(text)["A"]


CONDITIONS = [
    ('[ "$SITE" = T2 ]', True),
    ('[ "$SITE" == "T2" ]', True),
    ('[ "$SITE" != T2 ]', False),
    ('[ "x$NO" = "x" ]', True),
    ('[ -z "$NO" ]', True),
    ("[ -z $NO ]", True),
    ('[ -n "$NO" ]', False),
    ('[ "$SITE" ]', True),
    ('[ "$NO" ]', False),
    ("[ ]", False),
    ('[ ! -z "$NO" ]', False),
    ("[ ! a = b ]", True),
    ("[ ! = ! ]", True),
    ('! [ -z "$NO" ]', False),
    ("test a = a", True),
    ("[ 9 -lt 10 ]", True),
    ("[ 10 -le 9 ]", False),
    ('[ -z "$NO" ] && [ a = b ]', False),
    ('[ -z "$NO" ] || [ a = b ]', True),
    ('[ -z "$NO" ] || [ -f /etc/passwd ]', True),
    ("false || true", True),
    ("[ a=b ]", True),
]


@pytest.mark.parametrize(("condition", "holds"), CONDITIONS)
def test_conditions(condition: str, holds: bool) -> None:
    assert values(f"if {condition}; then A=yes; else A=no; fi") == {"A": "yes" if holds else "no"}
    assert values(f"A=no\n{condition} && A=yes")["A"] == ("yes" if holds else "no")


def test_branches() -> None:
    text = """\
    if [ "$WHO" = a ]
    then
        A=1
    elif [ "$WHO" = b ]; then
        if [ -n "$WHO" ]; then A=2; fi   # nested
    else
        A=3; . ./elsewhere
    fi
    B=$A
    """
    assert values("WHO=a\n" + text)["B"] == "1"
    assert values("WHO=b\n" + text)["B"] == "2"
    assert problems("WHO=c\n" + text) == [(8, "another file")]


def test_return_ends_the_text() -> None:
    assert values('if [ "$SITE" != "" ]; then\n return\nfi\nA=1') == {}
    assert values('A=1\nif [ "$NO" != "" ]; then\n return 0\nfi\nB=2') == {"A": "1", "B": "2"}


def test_lines_are_those_where_values_begin() -> None:
    text = '\n# c\nA=1 \\\nB=2\nC="\n\n"\nD=4'
    assert [line for *_, line in shell.parse(text, {}, "F").assignments] == [3, 4, 5, 8]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("A=$(echo hi)", "the output of a command"),
        ('A="x $(echo ")")"', "the output of a command"),
        ("A=`date`", "the output of a command"),
        ("A=$((1 + (2)))", "arithmetic"),
        ("A=$1", "$1"),
        ("A=$$", "$$"),
        ("A=$'x'", "$'"),
        ("A=${B%x}", "this kind of ${...}"),
        ("A=${#B}", "this kind of ${...}"),
        ("A=${NO:-$(date)}", "the output of a command"),
        ("A=~other/x", "the home directory of another user"),
        ("A=(1 2)", "an array"),
        ("A+=x", "a command"),
        ("A =x", "a command"),
        ("A=x command", "a command"),
        ("A=x | cat", "a pipe"),
        ("A=x > file", "a redirection"),
        ("A=x &", "a command in the background"),
        (". ./other", "another file"),
        ("source other", "another file"),
        ("unset A", "a command"),
        ("export -p", "export"),
        ("export $A", "export"),
        ("[ -f /etc/passwd ] && A=x", "this kind of test"),
        ("[ a = b", "] is missing"),
        ("{ A=x; }", "a group of commands"),
        ("(A=x)", "a subshell"),
        ("fi", "fi without its beginning"),
        (") A=x", ") without its beginning"),
    ],
)
def test_what_takes_a_shell_is_reported_and_passed_over(text: str, why: str) -> None:
    assert problems(f"B=1\n{text}\nC=2") == [(2, why)]
    assert assigned(f"B=1\n{text}\nC=2") == {"B": "1", "C": "2"}


@pytest.mark.parametrize(
    "block",
    [
        "if [ -d /x ]; then\n A=1\nelse\n A=2\nfi",
        'if [ -z "$NO" ] && grep -q x /y;\nthen\n :\nelse\n A=1\nfi',
        'if [ "$(($$ % 2))" == 1 ]; then\n A=1\nelse\n A=2\nfi',
        "case $SITE in\n T2) A=1;;\n (T3|T4)\n  A=2\n  ;;\n *) A=3\nesac",
        "for i in 1 2; do\n A=$i\ndone",
        "while read x\ndo\n if true; then A=1; fi\ndone < /x",
        "f() {\n A=1\n}",
        "function f {\n A=1\n}",
        "{\n A=1\n} > /x",
        "(\n A=1\n)",
        "B=$(\n A=1\n)",
        "B=`\n A=1\n`",
        "true |\n A=1",
        "cat /x |\n while read A; do\n A=1\n done",
        "A=(\n A=1\n)",
    ],
)
def test_blocks_are_passed_over_as_a_whole(block: str) -> None:
    assert assigned(f"{block}\nC=2") == {"C": "2"}
    assert [line for line, _ in problems(f"{block}\nC=2")] == [1]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("A='x\nB=1", "a quote, ', is never closed"),
        ('A="x\nB=1', 'a quote, ", is never closed'),
        ("A=${B:-x\nB=1", "a brace, ${, is never closed"),
        ("A=$(x\nB=1", "a bracket, $(, is never closed"),
        ("A=`x\nB=1", "a backquote is never closed"),
        ("if true; then\nB=1", "fi is missing"),
        ("if true\nB=1", "then is missing"),
        ("if ; then\nB=1\nfi", "a condition is missing"),
        ("case x in\nx) B=1", "esac is missing"),
        ("f() {\nB=1", "} is missing"),
        ("true &&\n;B=1", "a command is missing"),
        ("cat << E\nB=1\nE", "a here-document"),
        ("if true; then\n" * 99, "nested too deeply"),
        ("A=" + "${B:-" * 99, "quotes and braces are nested too deeply"),
    ],
)
def test_what_has_no_end_ends_the_reading(text: str, why: str) -> None:
    assert "B" not in assigned(f"Z=0\n{text}")
    assert assigned(f"Z=0\n{text}")["Z"] == "0"
    assert [found for _, found in problems(text)] == [f"{why}; nothing from here on was read"]


def test_a_problem_names_its_place() -> None:
    parsed = shell.parse("A=1\n  B=$(x)  # y", {}, "/etc/cvmfs/default.local")
    assert [str(problem) for problem in parsed.problems] == [
        "/etc/cvmfs/default.local:2: not understood: B=$(x)  # y (the output of a command)"
    ]


def test_sizes_are_bounded() -> None:
    assert shell.parse("A=1\n" + "#" * shell.MAX_TEXT, {}, "F").assignments == ()
    doubled = "A=xx\n" + "A=$A$A\n" * 40
    assert max(len(value) for _, value, _ in shell.parse(doubled, {}, "F").assignments) <= 1 << 16
    often = f"A={'x' * 60000}\n" + "B=x$A\n" * 1000
    assert sum(len(value) for _, value, _ in shell.parse(often, {}, "F").assignments) <= 1 << 22
    assert len(shell.parse("nonsense\n" * 1000, {}, "F").problems) <= 101


@pytest.mark.cost
@pytest.mark.parametrize("piece", ["a(", "A=1&&", "$(", '"', "`'\n", "! ", "A=:", "${A:-", "if "])
def test_large_texts_take_no_time(piece: str) -> None:
    start = time.monotonic()
    shell.parse(piece * (shell.MAX_TEXT // len(piece)), {}, "F")
    assert time.monotonic() - start < 60


SIGNS = [*"}'`\")(;&|<>#~:x[]!={\\\n\t", "$A", "${A", "${A:-", "$(", "<<", "&&", ";;", "A=", "-lt"]
WORDS = "if then else elif fi case in esac for while do done export return test"
PIECES = st.sampled_from(SIGNS + WORDS.split())


@given(st.one_of(st.text(), st.lists(PIECES).map("".join), st.lists(PIECES).map(" ".join)))
def test_any_text_is_read(text: str) -> None:
    parsed = shell.parse(text, ENVIRONMENT, "F")
    last = text.count("\n") + 1
    assert all(1 <= line <= last for _, _, line in parsed.assignments)
    assert all(1 <= problem.line <= last for problem in parsed.problems)


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=())))
def test_quoting_protects_any_value(value: str) -> None:
    import shlex

    assert values(f"A={shlex.quote(value)}") == {"A": value}
