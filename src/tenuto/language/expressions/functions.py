"""The functions of jq: which may stand in an expression, and why the others may not."""

from __future__ import annotations

import difflib
from typing import Final


def words(text: str) -> frozenset[str]:
    """Return the words of a text.

    >>> sorted(words("map/1 add/0"))
    ['add/0', 'map/1']
    """
    return frozenset(text.split())


FIRST_LANE: Final = words(
    """
    IN/1 IN/2 abs/0 add/0 add/1 all/0 all/1 all/2 any/0 any/1 any/2 arrays/0 ascii_downcase/0 ascii_upcase/0
    booleans/0 ceil/0 contains/1 del/1 delpaths/1 empty/0 endswith/1 error/0 error/1 explode/0 fabs/0
    first/0 first/1 flatten/0 flatten/1 floor/0 from_entries/0 getpath/1 group_by/1 has/1 implode/0 in/1
    index/1 indices/1 infinite/0 inside/1 isempty/1 isinfinite/0 isnan/0 isnormal/0 iterables/0 join/1
    keys/0 keys_unsorted/0 last/0 last/1 length/0 limit/2 ltrim/0 ltrimstr/1 map/1 map_values/1 max/0
    max_by/1 min/0 min_by/1 nan/0 not/0 now/0 nth/1 nth/2 nulls/0 numbers/0 objects/0 path/1 paths/0 paths/1
    pow/2 range/1 range/2 range/3 recurse/0 reverse/0 rindex/1 round/0 rtrim/0 rtrimstr/1 scalars/0 select/1
    setpath/2 skip/2 sort/0 sort_by/1 split/1 sqrt/0 startswith/1 strings/0 to_entries/0 toboolean/0 todate/0
    todateiso8601/0 tojson/0 tonumber/0 tostring/0 transpose/0 trim/0 trimstr/1 trunc/0 type/0 unique/0
    unique_by/1 utf8bytelength/0 values/0 with_entries/1
    """
)
"""Total and cheap, or bounded by the data: evaluated in process, as `name/arity`."""

SECOND_LANE: Final = words(
    """
    INDEX/1 INDEX/2 JOIN/2 JOIN/3 JOIN/4 acos/0 acosh/0 asin/0 asinh/0 atan/0 atan2/2 atanh/0 bsearch/1
    capture/1 capture/2 cbrt/0 combinations/0 combinations/1 copysign/2 cos/0 cosh/0 drem/2 erf/0 erfc/0
    exp/0 exp10/0 exp2/0 expm1/0 fdim/2 finites/0 fma/3 fmax/2 fmin/2 fmod/2 frexp/0 fromdate/0
    fromdateiso8601/0 fromjson/0 fromstream/1 gamma/0 gmtime/0 gsub/2 gsub/3 hypot/2 isfinite/0 j0/0 j1/0
    jn/2 ldexp/2 lgamma/0 lgamma_r/0 localtime/0 log/0 log10/0 log1p/0 log2/0 logb/0 match/1 match/2
    mktime/0 modf/0 nearbyint/0 nextafter/2 nexttoward/2 normals/0 pick/1 recurse/1 recurse/2 remainder/2
    repeat/1 rint/0 scalb/2 scalbln/2 scan/1 scan/2 significand/0 sin/0 sinh/0 split/2 splits/1 splits/2
    strflocaltime/1 strftime/1 strptime/1 sub/2 sub/3 tan/0 tanh/0 test/1 test/2 tgamma/0 tostream/0
    truncate_stream/1 until/2 walk/1 while/2 y0/0 y1/0 yn/2
    """
)
"""Possibly long, or best left to jq itself: evaluated in a child process."""

_ENVIRONMENT: Final = "an expression never sees the environment of the process"
_INPUT: Final = "an expression has one value to work on, `.`, and no further input"
_OUTPUT: Final = "an expression cannot write to the terminal"
_STOP: Final = "an expression cannot end the process; use `error(...)`"
_FILES: Final = "an expression cannot reach files or modules"
_BUILD: Final = "it tells about the jq program, not about your data"

REFUSED: Final[dict[str, str]] = {
    "env": _ENVIRONMENT,
    "input": _INPUT,
    "inputs": _INPUT,
    "input_filename": _INPUT,
    "input_line_number": _INPUT,
    "debug": _OUTPUT,
    "stderr": _OUTPUT,
    "halt": _STOP,
    "halt_error": _STOP,
    "get_search_list": _FILES,
    "modulemeta": _FILES,
    "get_jq_origin": _FILES,
    "get_prog_origin": _FILES,
    "builtins": _BUILD,
    "have_decnum": _BUILD,
    "have_literal_numbers": _BUILD,
    "format": "write the format itself: @json, @text, @csv, ...",
}
"""Names that jq knows and we refuse, with the reason."""

FORMATS: Final = frozenset({"text", "json", "html", "uri", "csv", "tsv", "base64", "base64d"})
"""The formats after `@` of the first lane."""

SECOND_LANE_FORMATS: Final = frozenset({"urid"})
"""The formats after `@` that only jq itself carries out."""

REFUSED_FORMATS: Final[dict[str, str]] = {
    "sh": "quoting for a shell is not safe in general; pass `arguments` to the command instead",
}

KNOWN: Final = FIRST_LANE | SECOND_LANE

_REPLACEMENTS: Final[dict[str, str]] = {
    "leaf_paths": "paths(scalars)",
    "toarray": 'if type == "array" then . else [.] end',
    "ascii": "[.] | implode",
    "date": "todate",
    "dateadd": "fromdate and +",
    "datesub": "fromdate and -",
    "tosecs": "fromdate",
    "recurse_down": "..",
    "ltrimstr_all": "ltrimstr",
}


def nearest(word: str, among: frozenset[str] | set[str]) -> str | None:
    """Return the most similar of the words, or None when none is similar.

    >>> nearest("lenght", frozenset({"length", "keys"}))
    'length'
    """
    close = difflib.get_close_matches(word, sorted(among), n=1, cutoff=0.6)
    return close[0] if close else None


def describe_unknown(name: str, arity: int, own: frozenset[str] | set[str]) -> tuple[str, str | None]:
    """Return the message and the hint for a call of a function that may not stand here.

    >>> describe_unknown("lenght", 0, set())
    ('unknown function lenght', 'did you mean length?')
    """
    reason = REFUSED.get(name)
    if reason is not None:
        return f"{name} is not allowed here", reason
    arities = sorted(
        int(known.rpartition("/")[2]) for known in KNOWN | own if known.rpartition("/")[0] == name
    )
    if arities:
        wanted = " or ".join(str(count) for count in arities)
        plural = "argument" if arities == [1] else "arguments"
        return f"{name} takes {wanted} {plural}, not {arity}", "arguments are separated by ;"
    if name in _REPLACEMENTS:
        return f"unknown function {name}", f"write {_REPLACEMENTS[name]}"
    near = nearest(name, {known.rpartition("/")[0] for known in KNOWN | own})
    return f"unknown function {name}", f"did you mean {near}?" if near else None
