"""Liquid of every kind and rows with every type of SQL, made up at random: a seed gives the same again."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from random import Random
from uuid import UUID

COLUMNS = ("a", "b", "A", "Column Name", "size", "j", "n", "at")
"""Two that differ only in case, one with a space, and one that Liquid knows as something else."""

_TEXTS: list[object] = [
    "", " ", "text", "Ünï-Çødé 😀", "a\nb", '"', "\\", "\\u0000", "a\x00b", "5", "-1.50", "1e3", "true",
    "now", "a,b,,c",
    "2026-01-05T10:00:00Z", "2026-01-05 10:00:00.5", "1767571200", "<b>&amp;</b>", "YQ==", "%41",
]  # fmt: skip
_NUMBERS: list[object] = [
    0, 1, -7, 250, 2**63, 10**40, True, False, Decimal("0.00"), Decimal("1.005"), Decimal("-2.5"),
    Decimal("1E+3"),
    Decimal("1E-30"), Decimal("NaN"), Decimal("Infinity"), 0.1, -0.0, 1e22, 1e-7, "5", "2.50",
]  # fmt: skip
_OTHERS: list[object] = [
    None, None, None, b"\x00", date(2026, 1, 5), time(1, 2, 3), timedelta(seconds=-1.5), UUID(int=5),
    datetime(2026, 1, 5, 10),  # noqa: DTZ001 - naive on purpose
    datetime(2026, 1, 5, 10, 0, 0, 999_999, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC),
    datetime(2026, 7, 5, 10, tzinfo=timezone(timedelta(hours=5, minutes=30))),
]  # fmt: skip
_JSON: list[object] = [
    {}, [], {"k": None}, {"k": 1, "b c": [1, {"k": "v"}]}, {"k": Decimal("1.50"), "size": 3}, [1, 2.5, "x",
    None],
    [{"k": 3, "s": "b"}, {"k": 1, "s": "a"}], ["b", "A", "b", None], {"first": 1, "last": 2},
]  # fmt: skip
TIMES: list[object] = [
    "2026-01-05T10:00:00Z", "2026-01-05 10:00:00.123", 1767600000, 1767600000.25, datetime(2026, 1, 5, 1,
    tzinfo=UTC),
    date(2026, 1, 5), "2026-01-06", None, "soon", 1767600000000,
]  # fmt: skip
EVERYTHING: list[object] = [*_TEXTS, *_NUMBERS, *_OTHERS, *_JSON, *TIMES]

_PROPERTIES = ["p", 'q"', "properties"]
_FIELDS = ["code", "external_subscription_id", "transaction_id", "timestamp", "precise_total_amount_cents"]
_PATHS = [
    "row.a", "row.b", "row.A", "row['Column Name']", 'row["a"]', "row.size", "row.n", "row.j", "row.j.k",
    "row.j[0]",
    "row.j.k.deep", "row.j[1].k", "row.j['b c'][1]", "row.j.size", "row.j.first", "row.at", "row.j[row.a]",
]  # fmt: skip
_PLAIN = ["row.a", "row.b", "row.A", "row['Column Name']", "row.n"]
_LITERALS = [
    "'x'",
    "'A b'",
    "''",
    "1",
    "0",
    "-3",
    "2.50",
    "0.1",
    "true",
    "false",
    "nil",
    "'%s'",
    "empty",
    "blank",
]
_MATH = ("plus", "minus", "times", "divided_by", "modulo", "at_most", "at_least")
_ONE = (
    *_MATH, "append", "prepend", "remove", "remove_first", "remove_last", "split", "date", "default",
    "join", "concat",
    "map", "round", "sum", "sort", "uniq", "compact", "sort_natural", "truncate",
)  # fmt: skip
_TWO = (
    "replace", "replace_first", "replace_last", "slice", "truncatewords", "where", "find", "find_index",
    "has", "reject",
)  # fmt: skip
_SUITED = {
    **dict.fromkeys((*_MATH, "round", "ceil", "floor", "abs"), ("row.n", "2", "0.5", "row.n")),
    "date": ("row.at", "'%s'", "'%Y-%m-%d %H:%M %Z'"),
}
"""A column that suits a filter, and arguments that do."""


class Maker:
    """Makes templates and rows; `filters` are those to use."""

    def __init__(self, seed: int, filters: Sequence[str]) -> None:
        self._random = Random(seed)
        self._filters = filters
        self._variables: list[str] = []

    def row(self) -> dict[str, object]:
        """Values that mostly suit their columns."""
        pick = self._random.choice
        fitting: dict[str, list[object]] = {"at": TIMES[:5], "j": _JSON, "n": _NUMBERS, "size": _OTHERS}
        return {name: pick(EVERYTHING if self._chance(5) else fitting.get(name, _TEXTS)) for name in COLUMNS}

    def event(self) -> dict[str, object]:
        """A template of which mostly one part is made up."""
        fields: dict[str, object] = {"code": "c", "external_subscription_id": "s"}
        properties: dict[str, object] = {}
        for _ in range(self._random.choice([1, 1, 1, 3])):
            field = self._random.choice([*_PROPERTIES * 3, *_FIELDS])
            self._variables.clear()
            liquid = self.output() if self._chance(2) else self.text(self._random.choice([0, 1, 1, 2]))
            (fields if field in _FIELDS else properties)[field] = liquid
        return {**fields, "properties": properties}

    def output(self) -> str:
        """A placeholder, some of them ternaries."""
        value = self.value()
        if self._chance(4):
            value += f" if {self.condition(2)}"
            value += f" else {self.value()}" if self._chance(2) else ""
        dash = self._dash()
        return f"{{{{{dash} {value} {dash}}}}}"

    def value(self) -> str:
        """A value with up to three filters."""
        names = [self._random.choice(self._filters) for _ in range(self._random.choice([0, 1, 1, 2, 3]))]
        suited = _SUITED.get(names[0] if names else "")
        start = suited[0] if suited and not self._chance(3) else self.primitive()
        return start + "".join(self._filter(name) for name in names)

    def primitive(self) -> str:
        """A column, a part of one, a variable or a literal."""
        return self._random.choice([*_PATHS, *_PLAIN * 2, *_LITERALS, *self._variables * 4])

    def condition(self, depth: int) -> str:
        """A condition of up to four comparisons."""
        kind = self._random.choice(["", "compare", "compare", "not", "and", "or", "group"] if depth else [""])
        match kind:
            case "compare":
                operator = self._random.choice(["==", "!=", "<>", "<", ">", "<=", ">=", "contains"])
                return f"{self.condition(0)} {operator} {self.condition(0)}"
            case "not":
                return f"not {self.condition(depth - 1)}"
            case "group":
                return f"({self.condition(depth - 1)})"
            case "and" | "or":
                return f"{self.condition(depth - 1)} {kind} {self.condition(depth - 1)}"
        return self._random.choice(["empty", "blank"]) if self._chance(8) else self.primitive()

    def text(self, depth: int) -> str:
        """Text, placeholders and tags."""
        return "".join(self._piece(depth) for _ in range(self._random.choice([1, 1, 2, 3])))

    def _piece(self, depth: int) -> str:
        kinds = ["text", "output", "output", "assign", "comment", "echo", "liquid", "other"]
        kind = self._random.choice(kinds + ["if", "if", "unless", "capture"] * bool(depth))
        match kind:
            case "output":
                return self.output()
            case "assign" | "echo" | "liquid" | "capture":
                return self._variable(kind, depth)
            case "if" | "unless":
                return self._branches(kind, depth)
        return self._random.choice(_PIECES[kind])

    def _variable(self, kind: str, depth: int) -> str:
        name = self._random.choice(["x", "y"])
        value, within = self.value(), self.text(depth - 1) if kind == "capture" else ""
        self._variables += [name] if kind != "echo" else []
        match kind:
            case "assign":
                return f"{{% assign {name} = {value} {self._dash()}%}}"
            case "echo":
                return f"{{%{self._dash()} echo {value} %}}"
            case "liquid":
                return f"{{% liquid\nassign {name} = {value}\necho {name}\n%}}"
        return f"{{% capture {name} %}}{within}{{% endcapture %}}"

    def _branches(self, kind: str, depth: int) -> str:
        start = f"{{% {kind} {self.condition(2)} {self._dash()}%}}{self.text(depth - 1)}"
        middle = f"{{% elsif {self.condition(2)} %}}{self.text(depth - 1)}" if self._chance(3) else ""
        other = f"{{% else %}}{self.text(depth - 1)}" if self._chance(2) else ""
        return f"{start}{middle}{other}{{% end{kind} %}}"

    def _filter(self, name: str) -> str:
        count = 2 if name in _TWO else int(name in _ONE)
        if self._chance(6):
            count = self._random.randint(0, 2)
        numbers = name in (*_MATH, "round") and not self._chance(4)
        arguments = [
            self._random.choice(["2", "0.5", "row.n"]) if numbers else self.primitive() for _ in range(count)
        ]
        arguments += ["allow_false: true"] if name == "default" and self._chance(3) else []
        return f" | {name}{': ' if arguments else ''}{', '.join(arguments)}"

    def _dash(self) -> str:
        return "-" if self._chance(4) else ""

    def _chance(self, of: int) -> bool:
        return self._random.randrange(of) == 0


_PIECES = {
    "text": [" ", "\n", "plain", " {a} ", "é"],
    "comment": ["{% comment %}a{% endcomment %}", "{% # note %}", "{% doc %}a{% enddoc %}"],
    "other": [
        "{% for i in row.j %}{{ i }}{% if forloop.last %}!{% endif %}{% endfor %}",
        "{% case row.a %}{% when 1, 'text' %}{{ row.b }}{% else %}other{% endcase %}",
        "{% cycle 'a', 'b' %}",
        "{% increment n %}",
        "{% raw %}{{ n }}{% endraw %}",
    ],
}
