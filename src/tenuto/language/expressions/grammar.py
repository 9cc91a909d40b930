"""Parse the text of an expression against the grammar of jq that we admit; nothing else is ever run."""

from __future__ import annotations

from typing import Final, NoReturn

from tenuto.language.expressions import syntax as s
from tenuto.language.expressions.failures import NESTING_LIMIT, TEXT_LIMIT, ExpressionSyntax
from tenuto.language.expressions.functions import (
    FORMATS,
    KNOWN,
    REFUSED_FORMATS,
    SECOND_LANE_FORMATS,
    describe_unknown,
    nearest,
)
from tenuto.language.expressions.numbers import number
from tenuto.language.expressions.tokens import Token, next_token, string_piece

_BINDING: Final[dict[str, tuple[int, str]]] = {
    "//": (1, "right"),
    **dict.fromkeys(("=", "|=", "+=", "-=", "*=", "/=", "%=", "//="), (2, "none")),
    "or": (3, "left"),
    "and": (4, "left"),
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">="), (5, "none")),
    **dict.fromkeys(("+", "-"), (6, "left")),
    **dict.fromkeys(("*", "/", "%"), (7, "left")),
}
_ASSIGNMENTS: Final = frozenset(("=", "|=", "+=", "-=", "*=", "/=", "%=", "//="))
_SECRETS: Final = frozenset({"secrets", "secret"})
_ONE: Final = 'only one ${ } may stand in a string; join with "text \\(.value) text" inside it'
_CHAIN: Final = 4 * NESTING_LIMIT


def parse_program(text: str, start: int, end: int) -> s.Node:
    """Parse `text[start:end]` whole; offsets in errors count from the start of `text`."""
    if end - start > TEXT_LIMIT:
        raise ExpressionSyntax(
            f"the expression is longer than {TEXT_LIMIT} characters (limit expression-text)",
            start + TEXT_LIMIT,
        )
    parser = _Parser(text, start, end)
    if parser.token.kind == "end":
        raise ExpressionSyntax(
            "an expression is expected here", parser.token.start, "write . for the value itself"
        )
    try:
        node = parser.query()
    except RecursionError:
        raise _too_deep(parser.token.start) from None
    if parser.token.kind != "end":
        parser.unexpected()
    _check_depth(node, start)
    return node


def _too_deep(offset: int) -> ExpressionSyntax:
    """Return the refusal of an expression that nests too deeply."""
    return ExpressionSyntax(
        f"the expression nests deeper than {NESTING_LIMIT} levels (limit expression-nesting)", offset
    )


def _check_depth(node: s.Node, start: int) -> None:
    """Refuse an expression of which the parts, chains of operators included, nest too deeply."""
    stack = [(node, 0)]
    while stack:
        part, depth = stack.pop()
        if depth > _CHAIN:
            raise _too_deep(start)
        stack.extend((child, depth + 1) for child in s.children(part))


class _Parser:
    """Recursive descent with one token of lookahead; scopes hold what `def` and `label` introduce."""

    def __init__(self, text: str, start: int, end: int) -> None:
        self.text = text
        self.end = end
        self.depth = 0
        self.functions: set[str] = set()
        self.labels: set[str] = set()
        self.token = next_token(text, start, end)

    # ── tokens ───────────────────────────────────────────────────────────────────────────

    def advance(self) -> Token:
        """Return the current token and move to the next."""
        token = self.token
        self.token = next_token(self.text, token.end, self.end)
        return token

    def at(self, *texts: str) -> bool:
        """Tell whether the current token is one of these signs or keywords."""
        return self.token.text in texts and self.token.kind in ("sign", "keyword")

    def accept(self, text: str) -> bool:
        """Skip the sign or keyword if it stands here."""
        if self.at(text):
            self.advance()
            return True
        return False

    def expect(self, text: str, why: str) -> None:
        """Skip the sign or keyword that must stand here."""
        if not self.accept(text):
            self.unexpected(f"expected {text} {why}")

    def unexpected(self, expected: str | None = None) -> NoReturn:
        """Refuse the current token."""
        token = self.token
        found = "the end of the expression" if token.kind == "end" else token.text
        if expected is not None:
            raise ExpressionSyntax(f"{expected}, found {found}", token.start)
        hint = _ONE if token.text == "}" else None
        if token.kind in ("word", "variable", "quote", "number", "format", "field"):
            hint = "is an operator such as | + == missing before it?"
        if token.text in ("&&", "||", "!"):
            hint = "write and, or, not"
        raise ExpressionSyntax(f"unexpected {found}", token.start, hint)

    def enter(self) -> None:
        """Count one level of nesting; `leave` ends it."""
        self.depth += 1
        if self.depth > NESTING_LIMIT:
            raise _too_deep(self.token.start)

    def leave(self) -> None:
        """End one level of nesting."""
        self.depth -= 1

    # ── pipes, commas, bindings ──────────────────────────────────────────────────────────

    def query(self) -> s.Node:
        """Parse everything up to a closing bracket, `;` or the end: pipes of commas of operands."""
        self.enter()
        pipes: list[s.Node] = []
        commas: list[s.Node] = []
        while True:
            operand, greedy = self.operand()
            commas.append(operand)
            if not greedy and self.accept(","):
                continue
            pipes.append(commas[0] if len(commas) == 1 else s.Comma(tuple(commas)))
            commas = []
            if greedy or not self.accept("|"):
                break
        self.leave()
        return pipes[0] if len(pipes) == 1 else s.Pipe(tuple(pipes))

    def operand(self) -> tuple[s.Node, bool]:
        """Parse one operand of `,` or `|`; true if it took all that follows (`def`, `label`, `as`)."""
        if self.at("def"):
            return self.definition(), True
        if self.accept("label"):
            name = self.variable("a label's name")
            self.expect("|", "after the label")
            outer = self.labels
            self.labels = outer | {name}
            body = self.query()
            self.labels = outer
            return s.Label(name, body), True
        node = self.expression()
        if not self.accept("as"):
            return node, False
        patterns = self.patterns()
        self.expect("|", "after the pattern")
        return s.Bind(node, patterns, self.query()), True

    def definition(self) -> s.Node:
        """Parse `def name(parameters): body; rest`."""
        self.advance()
        if self.token.kind != "word":
            self.unexpected("expected the function's name")
        name = self.advance()
        parameters: list[str] = []
        if self.accept("("):
            while True:
                if self.token.kind not in ("word", "variable"):
                    self.unexpected("expected a parameter's name")
                parameters.append(self.own_name(self.token))
                self.advance()
                if not self.accept(";"):
                    break
            self.expect(")", "after the parameters")
        key = f"{self.own_name(name)}/{len(parameters)}"
        if key in KNOWN or name.text in ("true", "false", "null"):
            raise ExpressionSyntax(
                f"the function {name.text} exists already", name.start, "choose another name"
            )
        self.expect(":", "after the function's name")
        outer = self.functions
        self.functions = outer | {key} | {f"{parameter.lstrip('$')}/0" for parameter in parameters}
        body = self.query()
        self.expect(";", "after the function's body")
        self.functions = outer | {key}
        rest = self.query()
        self.functions = outer
        return s.Define(name.text, tuple(parameters), body, rest)

    def own_name(self, token: Token) -> str:
        """Return a name that the expression introduces; ours and module names are refused."""
        bare = token.text.lstrip("$")
        if bare.startswith("_") or "::" in bare or (token.kind == "variable" and bare in _SECRETS | {"ENV"}):
            raise ExpressionSyntax(f"the name {token.text} is reserved", token.start, "choose another name")
        return token.text

    def variable(self, what: str) -> str:
        """Parse a `$name` that is introduced here; return the name without the sign."""
        if self.token.kind != "variable":
            self.unexpected(f"expected {what}, like $name")
        name = self.own_name(self.token)
        self.advance()
        return name[1:]

    # ── patterns ─────────────────────────────────────────────────────────────────────────

    def patterns(self) -> tuple[s.Pattern, ...]:
        """Parse a pattern, or several with `?//` between them."""
        found = [self.pattern()]
        while self.accept("?//"):
            found.append(self.pattern())
        return tuple(found)

    def pattern(self) -> s.Pattern:
        """Parse `$name`, `[patterns]` or `{keys: patterns}`."""
        self.enter()
        result: s.Pattern
        if self.accept("["):
            parts = [self.pattern()]
            while self.accept(","):
                parts.append(self.pattern())
            self.expect("]", "after the pattern")
            result = s.Items(tuple(parts))
        elif self.accept("{"):
            members = [self.member_pattern()]
            while self.accept(","):
                members.append(self.member_pattern())
            self.expect("}", "after the pattern")
            result = s.Members(tuple(members))
        else:
            result = s.Name(self.variable("a variable"))
        self.leave()
        return result

    def member_pattern(self) -> tuple[s.Node, str | None, s.Pattern | None]:
        """Parse one member of an object pattern: its key, the variable it is bound to, its pattern."""
        if self.token.kind == "variable":
            name = self.variable("a variable")
            inner = self.pattern() if self.accept(":") else None
            return s.Text((name,)), name, inner
        key: s.Node
        if self.token.kind in ("word", "keyword"):
            key = s.Text((self.advance().text,))
        elif self.accept("("):
            key = self.query()
            self.expect(")", "after the key")
            self.check_key(key)
        else:
            key = self.string()
        self.expect(":", "after the key")
        return key, None, self.pattern()

    # ── operators ────────────────────────────────────────────────────────────────────────

    def expression(self, lowest: int = 1) -> s.Node:
        """Parse operators that bind at least as strongly as `lowest`."""
        left = self.postfix()
        chain = 0
        barred = 0
        while self.token.kind in ("sign", "keyword"):
            operator = self.token.text
            strength, side = _BINDING.get(operator, (0, ""))
            if strength < lowest:
                break
            if strength == barred:
                raise ExpressionSyntax(
                    f"{operator} cannot follow another one of its kind", self.token.start, "use brackets"
                )
            chain += 1
            if chain > _CHAIN:
                raise ExpressionSyntax(
                    f"more than {_CHAIN} operators in a row (limit expression-nesting)", self.token.start
                )
            self.advance()
            if side == "right":
                self.enter()
                right = self.expression(strength)
                self.leave()
            else:
                right = self.expression(strength + 1)
            barred = strength if side == "none" else 0
            left = (s.Assign if operator in _ASSIGNMENTS else s.Binary)(operator, left, right)
        return left

    def postfix(self) -> s.Node:
        """Parse a term and what is appended to it: `.name`, `[...]`, `?`."""
        node = self.primary()
        chain = 0
        while True:
            chain += 1
            if chain > _CHAIN:
                raise ExpressionSyntax(
                    f"more than {_CHAIN} steps in a path (limit expression-nesting)", self.token.start
                )
            token = self.token
            if token.kind == "field":
                self.advance()
                node = self.index(node, s.Text((token.text[1:],)))
            elif token.kind == "sign" and token.text == ".":
                self.advance()
                if self.token.kind in ("quote", "format"):
                    node = self.index(node, self.string())
                elif self.at("["):
                    node = self.brackets(node)
                else:
                    self.unexpected("expected a name, a string or [ after the dot")
            elif token.kind == "sign" and token.text == "[":
                node = self.brackets(node)
            elif token.kind == "sign" and token.text == "?":
                self.advance()
                node = s.Try(node, None)
            else:
                return node

    def index(self, base: s.Node, key: s.Node) -> s.Node:
        """Return the index with the `?` that may follow; below `$secrets` it becomes a reference."""
        if isinstance(base, s.Secret):
            if isinstance(key, s.Text) and len(key.parts) == 1 and isinstance(key.parts[0], str):
                name = key.parts[0]
            elif isinstance(key, s.Number) and key.text.isdigit():
                name = key.text
            else:
                raise ExpressionSyntax(
                    "the name of a secret must be written out", base.offset, "$secrets.name.field"
                )
            return s.Secret((*base.path, name), base.offset)
        return s.Index(base, key, self.accept("?"))

    def brackets(self, base: s.Node) -> s.Node:
        """Parse `[]`, `[key]` or `[low:high]` after a term."""
        offset = self.token.start
        self.advance()
        if self.accept("]"):
            if isinstance(base, s.Secret):
                raise ExpressionSyntax(
                    "the name of a secret must be written out", offset, "$secrets.name.field"
                )
            return s.Iterate(base, self.accept("?"))
        low = None if self.at(":") else self.query()
        if low is not None and self.accept("]"):
            return self.index(base, low)
        self.expect(":", "or ] after the index")
        high = None if low is not None and self.at("]") else self.query()
        self.expect("]", "after the slice")
        if isinstance(base, s.Secret):
            raise ExpressionSyntax("the name of a secret must be written out", offset, "$secrets.name.field")
        return s.Slice(base, low, high, self.accept("?"))

    # ── terms ────────────────────────────────────────────────────────────────────────────

    def primary(self) -> s.Node:
        """Parse a term."""
        token = self.token
        match token.kind:
            case "number":
                self.advance()
                number(token.text, token.start)
                return s.Number(token.text)
            case "quote" | "format":
                return self.string_or_format()
            case "field":
                self.advance()
                return self.index(s.Identity(), s.Text((token.text[1:],)))
            case "variable":
                return self.use_variable()
            case "word":
                return self.call()
            case "keyword":
                return self.keyword()
            case "sign":
                return self.bracketed()
            case _:
                self.unexpected("expected a value")

    def bracketed(self) -> s.Node:
        """Parse a term that starts with a sign."""
        node: s.Node
        if self.accept(".."):
            node = s.Descend()
        elif self.accept("."):
            node = s.Identity()
            if self.token.kind in ("quote", "format"):
                node = self.index(node, self.string())
            elif self.token.kind == "word":
                self.unexpected("expected no space between the dot and the name")
        elif self.accept("-"):
            self.enter()
            node = s.Negate(self.postfix())
            self.leave()
        elif self.accept("("):
            node = self.query()
            self.expect(")", "to close the bracket")
        elif self.accept("["):
            body = None if self.at("]") else self.query()
            self.expect("]", "to close the array")
            node = s.Array(body)
        elif self.accept("{"):
            node = self.object()
        else:
            self.unexpected()
        return node

    def use_variable(self) -> s.Node:
        """Parse the use of `$name`."""
        token = self.advance()
        name = token.text[1:]
        if name == "ENV":
            raise ExpressionSyntax(
                "$ENV is not allowed here",
                token.start,
                "an expression never sees the environment of the process",
            )
        if name.startswith("__") or "::" in name:
            raise ExpressionSyntax(f"{token.text} is not allowed here", token.start, "it is internal to jq")
        if name in _SECRETS:
            return s.Secret((), token.start)
        return s.Variable(name, token.start)

    def call(self) -> s.Node:
        """Parse `true`, `false`, `null` or the call of a function."""
        token = self.advance()
        name = token.text
        arguments: list[s.Node] = []
        if self.accept("("):
            while True:
                arguments.append(self.query())
                if not self.accept(";"):
                    break
            self.expect(")", f"after the arguments of {name}")
        elif name in ("true", "false", "null"):
            return s.Constant({"true": True, "false": False, "null": None}[name])
        key = f"{name}/{len(arguments)}"
        own = key in self.functions
        if not own and key not in KNOWN:
            message, hint = describe_unknown(name, len(arguments), self.functions)
            raise ExpressionSyntax(message, token.start, hint)
        return s.Call(name, tuple(arguments), token.start, own)

    def keyword(self) -> s.Node:
        """Parse a term that starts with a keyword."""
        self.enter()
        token = self.advance()
        node: s.Node
        match token.text:
            case "if":
                node = self.conditional()
            case "try":
                body = self.postfix()
                node = s.Try(body, self.postfix() if self.accept("catch") else None)
            case "reduce" | "foreach":
                node = self.fold(token.text)
            case "break":
                name = self.variable("the label to break to")
                if name not in self.labels:
                    raise ExpressionSyntax(
                        f"there is no label ${name} here", token.start, f"label ${name} | ..."
                    )
                node = s.Break(name)
            case "import" | "include" | "module":
                raise ExpressionSyntax(
                    f"{token.text} is not allowed here",
                    token.start,
                    "an expression cannot reach files or modules",
                )
            case "def":
                raise ExpressionSyntax("a definition cannot stand here", token.start, "put it in brackets")
            case _:
                raise ExpressionSyntax(f"unexpected {token.text}", token.start)
        self.leave()
        return node

    def conditional(self) -> s.Node:
        """Parse the rest of `if`."""
        branches: list[tuple[s.Node, s.Node]] = []
        while True:
            condition = self.query()
            self.expect("then", "after the condition")
            branches.append((condition, self.query()))
            if not self.accept("elif"):
                break
        otherwise = self.query() if self.accept("else") else None
        self.expect("end", "to close the if")
        return s.If(tuple(branches), otherwise)

    def fold(self, word: str) -> s.Node:
        """Parse the rest of `reduce` or `foreach`."""
        source = self.expression()
        self.expect("as", f"after the source of {word}")
        patterns = self.patterns()
        self.expect("(", "after the pattern")
        start = self.query()
        self.expect(";", "after the start value")
        update = self.query()
        extract = self.query() if word == "foreach" and self.accept(";") else None
        self.expect(")", f"to close the {word}")
        if word == "reduce":
            return s.Reduce(source, patterns, start, update)
        return s.Foreach(source, patterns, start, update, extract)

    def object(self) -> s.Node:
        """Parse the rest of an object, after its `{`."""
        self.enter()
        pairs: list[tuple[s.Node, s.Node]] = []
        while not self.at("}"):
            pairs.append(self.pair())
            if not self.accept(","):
                break
        self.expect("}", "to close the object")
        self.leave()
        return s.Object(tuple(pairs))

    def pair(self) -> tuple[s.Node, s.Node]:
        """Parse one member of an object: `key: value`, or a key alone."""
        token = self.token
        key: s.Node
        alone: s.Node | None
        if token.kind in ("word", "keyword"):
            self.advance()
            key = s.Text((token.text,))
            alone = s.Index(s.Identity(), key)
        elif token.kind == "variable":
            alone = self.use_variable()
            key = s.Text((token.text[1:],)) if not self.at(":") else alone
        elif token.kind in ("quote", "format"):
            key = self.string()
            alone = s.Index(s.Identity(), key)
        elif self.accept("("):
            key, alone = self.query(), None
            self.expect(")", "after the key")
            self.check_key(key)
        else:
            self.unexpected("expected a key; write a computed one in brackets")
        if alone is not None and not self.at(":"):
            return key, alone
        self.expect(":", "after the key")
        value = [self.expression()]
        while self.accept("|"):
            value.append(self.expression())
        return key, value[0] if len(value) == 1 else s.Pipe(tuple(value))

    def check_key(self, key: s.Node) -> None:
        """Refuse a constant key that is no string, as jq does."""
        if isinstance(key, s.Number | s.Constant):
            raise ExpressionSyntax("the key of an object must be a string", self.token.start)

    # ── strings ──────────────────────────────────────────────────────────────────────────

    def string_or_format(self) -> s.Node:
        """Parse a string, with or without a format, or a format alone."""
        if self.token.kind == "quote":
            return self.string()
        token = self.advance()
        name = token.text[1:]
        if name not in FORMATS | SECOND_LANE_FORMATS:
            near = nearest(name, FORMATS | SECOND_LANE_FORMATS)
            reason = REFUSED_FORMATS.get(name)
            message = f"{token.text} is not allowed here" if reason else f"unknown format {token.text}"
            raise ExpressionSyntax(
                message, token.start, reason or (f"did you mean @{near}?" if near else None)
            )
        return self.quoted(name) if self.token.kind == "quote" else s.Format(name)

    def string(self) -> s.Node:
        """Parse a string that must stand here, with or without a format."""
        if self.token.kind == "quote":
            return self.quoted(None)
        if self.token.kind == "format":
            token = self.token
            node = self.string_or_format()
            if isinstance(node, s.Text):
                return node
            raise ExpressionSyntax(f"expected a string after {token.text}", self.token.start)
        self.unexpected("expected a string")

    def quoted(self, style: str | None) -> s.Node:
        """Parse a string from its opening quote, with the expressions inside it."""
        opening = self.token.start
        position = self.token.end
        parts: list[str | s.Node] = []
        plain: list[str] = []
        while True:
            piece, position = string_piece(self.text, position, self.end)
            if piece:
                plain.append(piece)
                continue
            if position >= self.end:
                raise ExpressionSyntax("the string is not closed", opening, 'close it with "')
            if plain:
                parts.append("".join(plain))
                plain = []
            if self.text[position] == '"':
                break
            if not self.text.startswith("\\(", position):
                raise ExpressionSyntax("the string ends within an escape", position)
            self.token = next_token(self.text, position + 2, self.end)
            parts.append(self.query())
            if not self.at(")"):
                self.unexpected("expected ) to close the expression inside the string")
            position = self.token.end
        self.token = next_token(self.text, position + 1, self.end)
        return s.Text(tuple(parts), style)
