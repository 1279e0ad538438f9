"""Formulas as MathML: a parser of the language that `formulas.py` describes.

Recursive descent, one method a level of precedence, loosest first; each gives finished MathML.
"""

from __future__ import annotations

import html
import re
from typing import NamedTuple

GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "eps": "ε", "eta": "η",
    "theta": "θ", "kappa": "κ", "lambda": "λ", "mu": "μ", "nu": "ν", "xi": "ξ", "pi": "π",
    "rho": "ρ", "sigma": "σ", "tau": "τ", "phi": "φ", "chi": "χ", "psi": "ψ", "omega": "ω",
    "Gamma": "Γ", "Delta": "Δ", "Theta": "Θ", "Lambda": "Λ", "Sigma": "Σ", "Phi": "Φ", "Psi": "Ψ",
    "Omega": "Ω",
}  # fmt: skip
SYMBOLS = {"inf": "∞", "nan": "NaN", **GREEK}
ACCENTS = {"hat": "^", "bar": "¯", "tilde": "~"}
BIG = {"sum": "∑", "prod": "∏"}
# with a subscript and no parenthesis they are written as sum_i is: max_j x[j]
RANGED = {"max", "min", "argmax", "argmin", "mean", "median"}
FUNCTIONS = {
    "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "ln", "log", "log2",
    "log10", "exp", "sign", "sqrt", "sigmoid", "erf",
}  # fmt: skip
RELATIONS = {"=": "=", "==": "=", "!=": "≠", "<": "<", ">": ">", "<=": "≤", ">=": "≥", "->": "→"}
PRODUCTS = {"*": "⋅", "@": "@", "mod": "mod"}
KEYWORDS = {"where", "else", "and", "or", "not", "mod"}
# what makes a row of names a phrase; a row without one is a forgotten operator
CONNECTING = {
    "after", "all", "along", "are", "as", "at", "back", "before", "between", "by", "each",
    "elsewhere", "for", "from", "has", "in", "into", "is", "it", "its", "no", "of", "on", "over",
    "per", "than", "that", "the", "to", "until", "with", "without",
}  # fmt: skip

_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d++(?:\.\d+)?+(?:e-?\d+)?(?![A-Za-z]))"
    r"|(?P<name>[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)*'*)"
    r"|(?P<sign>\.\.\.|\|\||<=|>=|!=|==|->|[-+*/^@()\[\]{},:|=<>_]))"
)


class FormulaError(ValueError):
    """A formula that is not in the language: what was expected, and where."""


class _Token(NamedTuple):
    kind: str
    text: str
    start: int
    spaced: bool
    """Whether there is a space before it: `f(x)` is a call, `at (i, j)` is not."""


class _Piece(NamedTuple):
    markup: str
    bare: str
    """The same without its outer parentheses: for exponents and fractions."""
    word: str | None = None
    """Its text, if it is nothing but a name."""


def to_mathml(formula: str) -> str:
    """One formula `left = right` as a `<math>` element. FormulaError says what is wrong where."""
    return f'<math xmlns="http://www.w3.org/1998/Math/MathML">{_Parser(formula).statement()}</math>'


def _mo(sign: str) -> str:
    return f"<mo>{html.escape(sign)}</mo>"


def _text(words: str) -> str:
    return f"<mtext>{html.escape(words)}</mtext>"


def _row(*parts: str) -> str:
    """Several elements as one."""
    return parts[0] if len(parts) == 1 else f"<mrow>{''.join(parts)}</mrow>"


def _plain(markup: str) -> _Piece:
    return _Piece(markup, markup)


def _identifier(name: str) -> str:
    """A name: Greek letters by name, `xhat` with a hat, `x_i` and `grad_out` with a subscript."""
    stem = name.rstrip("'")
    primes = _mo("′" * (len(name) - len(stem))) if stem != name else ""
    parts = stem.split("_")
    count = len(parts)
    while count > 1 and (len(parts[count - 1]) == 1 or parts[count - 1] in GREEK):
        count -= 1
    base, below = parts[:count], parts[count:]
    if base[0] == "grad" and count > 1:
        base, below = ["grad"], ["_".join(base[1:]), *below]
    elif len(base[0]) == 1 and count > 1:
        base, below = base[:1], [*base[1:], *below]
    whole = "_".join(base)
    accent = next((a for a in ACCENTS if whole[1:] == a), None)
    if accent:
        markup = f"<mover><mi>{whole[0]}</mi>{_mo(ACCENTS[accent])}</mover>"
    else:
        markup = f"<mi>{SYMBOLS.get(whole, whole)}</mi>"
    if below:
        indices = [f"<mi>{SYMBOLS.get(b, b)}</mi>" for b in below]
        commas = [part for index in indices for part in (_mo(","), index)][1:]
        markup = f"<msub>{markup}{_row(*commas)}</msub>"
    return f"<msup>{markup}{primes}</msup>" if primes else markup


class _Parser:
    def __init__(self, formula: str) -> None:
        self.formula = formula
        self.tokens: list[_Token] = []
        self.position = 0
        place, end = 0, len(formula.rstrip())
        while place < end:
            found = _TOKEN.match(formula, place)
            if found is None:
                raise FormulaError(f"{formula!r}: {formula[place:].strip()[0]!r} has no meaning")
            kind = str(found.lastgroup)
            start = found.start(kind)
            self.tokens.append(_Token(kind, found[kind], start, start > place))
            place = found.end()
        self.tokens.append(_Token("end", "", end, True))

    # ---- tokens ----------------------------------------------------------------------------------

    @property
    def next(self) -> _Token:
        return self.tokens[self.position]

    def take(self) -> _Token:
        self.position += 1
        return self.tokens[self.position - 1]

    def at(self, *texts: str) -> bool:
        return self.next.kind != "end" and self.next.text in texts

    def skip(self, text: str) -> bool:
        if self.at(text):
            self.position += 1
            return True
        return False

    def expect(self, text: str) -> None:
        if not self.skip(text):
            raise self.error(f"expected {text!r}")

    def error(self, problem: str) -> FormulaError:
        found = self.next.text or "the end"
        return FormulaError(f"{self.formula!r}: {problem} at {found!r} (place {self.next.start})")

    def begins_value(self) -> bool:
        token = self.next
        if token.kind == "name":
            return token.text not in KEYWORDS - {"not"}
        return token.kind == "number" or token.text in ("(", "[", "...")

    # ---- levels, loosest first -------------------------------------------------------------------

    def statement(self) -> str:
        """left = right, where `where ... else` belongs to the right side alone."""
        start = self.position
        if self.next.kind == "name":
            left = self.postfix()
            if self.skip("="):
                right = self.several()
                if self.next.kind != "end":
                    raise self.error("cannot go on")
                return _row(left.markup, _mo("="), right)
            self.position = start
        markup = self.several()
        if self.next.kind != "end":
            raise self.error("cannot go on")
        return markup

    def several(self) -> str:
        """Values with commas between them."""
        parts = [self.choice()]
        while self.skip(","):
            parts += [_mo(","), self.choice()]
        return _row(*parts)

    def choice(self) -> str:
        """a where condition, else b where ..., else c: one line each behind a brace."""
        value = self.phrase()
        if not self.at("where"):
            return value
        lines = []
        while self.skip("where"):
            lines.append((value, _text("where\u00a0") + self.phrase()))
            if self.at(",") and self.tokens[self.position + 1].text == "else":
                self.skip(",")
            if not self.skip("else"):
                break
            value = self.phrase()
        else:
            lines.append((value, _text("else")))
        rows = "".join(f"<mtr><mtd>{v}</mtd><mtd>{c}</mtd></mtr>" for v, c in lines)
        return _row(_mo("{"), f'<mtable columnalign="left">{rows}</mtable>')

    def phrase(self) -> str:
        """Values side by side with connecting words: `x in the order dims`."""
        first = self.logic()
        if not self.begins_value():
            return first.markup
        start = self.next
        pieces = [first]
        while self.begins_value():
            pieces.append(self.logic())
        if not any(p.word in CONNECTING for p in pieces):
            raise FormulaError(
                f"{self.formula!r}: two values side by side at {start.text!r} (place "
                f"{start.start}); write an operator between them"
            )
        parts: list[str] = []
        for i, piece in enumerate(pieces):
            article = piece.word == "a" and i + 1 < len(pieces) and pieces[i + 1].word is not None
            if piece.word is not None and (
                article or (len(piece.word) > 1 and "_" not in piece.word)
            ):
                parts.append(_text(("\u00a0" if i else "") + piece.word + "\u00a0"))
            else:
                parts.append(piece.markup)
        return _row(*parts)

    def logic(self) -> _Piece:
        left = self.negation()
        while self.at("and", "or"):
            word = _text(f"\u00a0{self.take().text}\u00a0")
            left = _plain(_row(left.markup, word, self.negation().markup))
        return left

    def negation(self) -> _Piece:
        if self.skip("not"):
            return _plain(_row(_text("not\u00a0"), self.relation().markup))
        return self.relation()

    def relation(self) -> _Piece:
        left = self.sum()
        while self.next.text in RELATIONS:
            sign = _mo(RELATIONS[self.take().text])
            left = _plain(_row(left.markup, sign, self.sum().markup))
        return left

    def sum(self) -> _Piece:
        left = self.product()
        while self.at("+", "-"):
            sign = _mo("+" if self.take().text == "+" else "−")
            left = _plain(_row(left.markup, sign, self.product().markup))
        return left

    def product(self) -> _Piece:
        left = self.signed()
        while self.next.text in PRODUCTS or self.at("/"):
            sign = self.take().text
            right = self.signed()
            if sign == "/":
                left = _plain(f"<mfrac>{left.bare}{right.bare}</mfrac>")
            else:
                left = _plain(_row(left.markup, _mo(PRODUCTS[sign]), right.markup))
        return left

    def signed(self) -> _Piece:
        if self.skip("-"):
            return _plain(_row(_mo("−"), self.signed().markup))
        return self.power()

    def power(self) -> _Piece:
        base = self.postfix()
        if not self.skip("^"):
            return base
        minus = _mo("−") if self.skip("-") else ""
        exponent = self.power()
        above = _row(minus, exponent.markup) if minus else exponent.bare
        return _plain(f"<msup>{base.markup}{above}</msup>")

    def postfix(self) -> _Piece:
        piece = self.atom()
        while True:
            if self.at("[") and not self.next.spaced:
                self.take()
                piece = _plain(_row(piece.markup, _mo("["), *self.places("]"), _mo("]")))
            elif self.at("_"):
                piece = _plain(f"<msub>{piece.markup}{self.script()}</msub>")
            else:
                return piece

    # ---- atoms -----------------------------------------------------------------------------------

    def atom(self) -> _Piece:
        token = self.take()
        if token.kind == "number":
            return _plain(f"<mn>{token.text}</mn>")
        if token.kind == "name" and token.text not in KEYWORDS:
            return self.named(token.text)
        if token.text == "(":
            inside = self.several() if not self.at(")") else _row()
            self.expect(")")
            return _Piece(_row(_mo("("), inside, _mo(")")), inside)
        if token.text == "[":
            return _plain(_row(_mo("["), *self.places("]"), _mo("]")))
        if token.text in ("|", "||"):
            bar = _mo("|" if token.text == "|" else "‖")
            inside = self.sum().markup
            self.expect(token.text)
            return _plain(_row(bar, inside, bar))
        if token.text == "...":
            return _plain(_mo("…"))
        self.position -= 1
        raise self.error("expected a value")

    def named(self, name: str) -> _Piece:
        """A name, a call, or a function or sum that stands before its argument."""
        stem, _, below = name.partition("_")
        ranged = bool(below) or self.at("_")
        in_words = self.next.kind == "name" and self.next.text in CONNECTING
        called = self.at("(") and not self.next.spaced
        goes_on = self.begins_value() or (self.at("|", "||") and self.next.spaced)
        alone = goes_on and not called and not in_words
        if (stem in BIG and (ranged or alone)) or (stem in RANGED and ranged):
            return self.big(stem, below)
        if called:
            return self.call(name)
        if name in FUNCTIONS and goes_on and not in_words:
            argument = self.power()
            if name == "sqrt":
                return _plain(f"<msqrt>{argument.bare}</msqrt>")
            return _plain(_row(f"<mi>{name}</mi>", _mo("\u2061"), argument.markup))
        return _Piece(*(_identifier(name),) * 2, name)

    def call(self, name: str) -> _Piece:
        """f(x, y); a root, a floor and a ceiling have signs of their own."""
        self.take()
        inside = self.several() if not self.at(")") else _row()
        self.expect(")")
        if name == "sqrt":
            return _plain(f"<msqrt>{inside}</msqrt>")
        if name in ("floor", "ceil"):
            left, right = "⌊⌋" if name == "floor" else "⌈⌉"
            return _plain(_row(_mo(left), inside, _mo(right)))
        sign = _mo(BIG[name]) if name in BIG else f"<mi>{SYMBOLS.get(name, name)}</mi>"
        return _plain(_row(sign, _mo("\u2061"), _mo("("), inside, _mo(")")))

    def big(self, stem: str, below: str) -> _Piece:
        """sum_i, prod_{i < n} or max_j, what they run over, and as much as a product holds."""
        sign = _mo(BIG[stem]) if stem in BIG else f"<mi>{stem}</mi>"
        under = _row(_identifier(below)) if below else self.script() if self.at("_") else ""
        if under and self.skip("^"):
            sign = f"<munderover>{sign}{under}{self.atom().bare}</munderover>"
        elif under:
            sign = f"<munder>{sign}{under}</munder>"
        return _plain(_row(sign, self.product().markup))

    def script(self) -> str:
        """What follows a `_`: a name, a number, or anything in braces."""
        self.expect("_")
        if self.skip("{"):
            return _row(*self.places("}"))
        return self.atom().bare

    def places(self, end: str) -> list[str]:
        """What stands in an index: values, slices and `...`, up to the bracket `end`."""
        parts: list[str] = []
        while not self.at(end):
            if self.at(",", ":"):
                parts.append(_mo(self.take().text))
            elif self.next.kind == "end":
                raise self.error(f"expected {end!r}")
            else:
                parts.append(self.choice())
        self.expect(end)
        return parts
