"""Results as tables, for a terminal and in Markdown."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from benchmarks.case import OURS
from benchmarks.results import GroupRatio, Result, best_modes, geometric_mean, group_ratios

MEAN = "geometric mean"


@dataclass
class Table:
    """Rows in sections. The first column is text, the others are numbers.

    ratios  the columns that hold ratios
    notes   lines below the table
    """

    title: str
    columns: list[str]
    ratios: set[str]
    sections: list[tuple[str, list[list[str]]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def suite_table(suite: str, results: Sequence[Result], peak_gflops: float) -> Table:
    """One row a case, one section a group, a column of ratios for each peer and best mode."""
    mine = [result for result in results if result.suite == suite]
    labels = list(dict.fromkeys(label for result in mine for label in result.samples))
    peers = [label for label in labels if label != OURS]
    peers += best_modes(peers)
    memory = any(result.unit == "B" for result in mine)
    rates = any(result.flops or result.items for result in mine)
    columns = ["case", "MiB" if memory else "ms", *(["rate", "of peak"] if rates else []), *peers]
    table = Table(f"{suite}: ours / peer, less is better", columns, set(peers))
    for group in dict.fromkeys(result.group for result in mine):
        members = [result for result in mine if result.group == group and result.timed]
        rows = [_case_row(result, peers, rates, peak_gflops) for result in members]
        if len(members) > 1:
            means = [_mean([r.ratios()[p] for r in members if p in r.ratios()]) for p in peers]
            rows.append([MEAN, "", *(["", ""] if rates else []), *means])
        if rows:
            table.sections.append((group, rows))
    table.notes = _notes(mine)
    return table


def _case_row(result: Result, peers: Sequence[str], rates: bool, peak_gflops: float) -> list[str]:
    row = [result.name, _amount(result).split()[0]]
    if rates:
        gflops = result.flops / result.ours / 1e9
        if result.items:
            row += [f"{_digits(result.items / result.ours)} {result.item}/s"]
        else:
            row += [f"{_digits(gflops)} GFLOP/s" if result.flops else ""]
        row += [f"{gflops / peak_gflops:.0%}" if result.flops else ""]
    ratios = result.ratios()
    return row + [f"{ratios[peer]:.2f}" if peer in ratios else "-" for peer in peers]


def in_short(result: Result) -> str:
    """What became of a case, in a line."""
    if not result.timed:
        return result.error
    ratios = [f"{ratio:.2f} of {peer}" for peer, ratio in result.ratios().items()]
    return ", ".join([_amount(result), *ratios])


def _amount(result: Result) -> str:
    """The median of ours, with its unit."""
    if result.unit == "B":
        return f"{result.ours / 2**20:,.0f} MiB"
    return f"{_digits(1e3 * result.ours)} ms"


def _mean(ratios: Sequence[float]) -> str:
    return f"{geometric_mean(ratios):.2f}" if ratios else "-"


def _digits(value: float) -> str:
    """Three digits that mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _notes(results: Sequence[Result]) -> list[str]:
    notes = [f"NOT TIMED  {r.group}: {r.name}: {r.error}" for r in results if r.error]
    skipped: dict[tuple[str, str], list[str]] = {}
    for result in results:
        for label, reason in result.skipped.items():
            skipped.setdefault((label, reason), []).append(result.name)
    for (label, reason), names in skipped.items():
        notes.append(f"skipped: {label} in {', '.join(names)}: {reason}")
    unchecked = [r.name for r in results if r.timed and r.flops and not r.checked]
    if unchecked:
        notes.append(f"compared with nothing: {', '.join(unchecked)}")
    for result in results:
        if result.evenness is not None:
            notes.append(
                f"{result.name}: the slowest variant reaches {result.evenness:.2f} of the "
                "fastest one's speed"
            )
    return notes


def summary_table(results: Sequence[Result]) -> Table:
    """One row for each group and peer."""
    table = Table(
        "ours / peer, geometric mean over a group's cases; less is better",
        ["group", "compared with", "ours / peer", "cases"],
        {"ours / peer"},
    )
    by_suite: dict[str, list[list[str]]] = {}
    for row in group_ratios(results):
        by_suite.setdefault(row.suite, []).append(_summary_row(row))
    table.sections = list(by_suite.items())
    return table


def _summary_row(row: GroupRatio) -> list[str]:
    cases = str(row.of) if row.cases == row.of else f"{row.cases} of {row.of}"
    return [row.group, row.peer, f"{row.ratio:.2f}", cases]


def print_table(console: Console, table: Table) -> None:
    """On a terminal, ratios below and above one in colour."""
    drawn = RichTable(title=escape(table.title), title_justify="left", header_style="bold")
    for i, column in enumerate(table.columns):
        drawn.add_column(escape(column), justify="left" if i == 0 else "right", no_wrap=i == 0)
    for name, rows in table.sections:
        drawn.add_row(f"[bold cyan]{escape(name)}[/]")
        for row in rows:
            cells = [
                _coloured(cell) if column in table.ratios else escape(cell)
                for column, cell in zip(table.columns, row, strict=True)
            ]
            drawn.add_row(*cells, style="bold" if row[0] == MEAN else None)
        drawn.add_section()
    if table.sections:
        console.print(drawn)
    for note in table.notes:
        console.print(note, markup=False, highlight=False)
    console.print()


def _coloured(cell: str) -> str:
    try:
        ratio = float(cell)
    except ValueError:
        return cell
    if 0.97 <= ratio <= 1.03:
        return cell
    return f"[{'green' if ratio < 1 else 'red'}]{cell}[/]"


def markdown(table: Table) -> str:
    """The table in GitHub's Markdown; sections become bold rows."""
    lines = [f"**{table.title}**", ""]
    if table.sections:
        lines += [_markdown_row(table.columns)]
        lines += ["|---|" + "---:|" * (len(table.columns) - 1)]
    for name, rows in table.sections:
        lines.append(_markdown_row([f"**{_cell(name)}**", *[""] * (len(table.columns) - 1)]))
        lines += [_markdown_row(map(_cell, row)) for row in rows]
    if table.notes:
        lines += ["", *(f"- {note}" for note in table.notes)]
    return "\n".join(lines) + "\n"


def _markdown_row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
