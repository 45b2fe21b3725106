"""Formats the table of a comparison as text and as HTML."""

import html
import textwrap

import numpy as np

from keras_modals._src.status_line import WIDTH

CAPTION = (
    "Mean ± standard deviation over seeds; change from none on the same seeds ± its "
    "standard error; p corrected for the number of methods."
)
_HEADINGS = ("method", "mean", "change", "p", "verdict")


def as_text(comparison):
    """Formats the tables as text of at most `WIDTH` columns, except for long names."""
    lines = []
    for title, rows, settings in _tables(comparison):
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines.append(title)
        for row in rows:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            lines.append(("  " + "  ".join(cells)).rstrip())
        for method, setting in settings.items():
            lines += _wrapped(f"{method} chose {setting}")
    for method, reason in comparison.skipped.items():
        lines += _wrapped(f"{method}: {reason}")
    return "\n".join([*lines, *textwrap.wrap(CAPTION, WIDTH)])


def as_html(comparison):
    """Formats a table for each data set, for a notebook."""
    parts = []
    for title, rows, settings in _tables(comparison):
        headings: tuple[str, ...] = _HEADINGS
        if settings:
            headings = (*_HEADINGS, "chosen most often")
            rows = [(*row, settings.get(row[0].strip(), "")) for row in rows]
        heads = "".join(f"<th>{heading}</th>" for heading in headings)
        body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
        parts.append(
            f"<table><caption>{html.escape(title)}</caption>"
            f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
        )
    notes = [f"{method}: {reason}" for method, reason in comparison.skipped.items()]
    parts += [f"<p>{html.escape(note)}</p>" for note in (*notes, CAPTION)]
    return "".join(parts)


def _tables(comparison):
    """Yields the title, the rows and a dict of chosen settings of each data set."""
    summary = comparison.summary()
    for dataset, group in summary.groupby("dataset", sort=False):
        seeds = group["runs"].max()
        title = (
            f"{dataset}: test {comparison.metric.replace('_', ' ')}, "
            f"{comparison.unit}, {seeds} seed{'s' if seeds > 1 else ''}"
        )
        is_usual = comparison.unit in ("points", "nats")
        digits = 2 if is_usual else _digits(group["mean"])
        rows = [_row(name, row, seeds, digits) for (_, name), row in group.iterrows()]
        chosen = {name: row["setting"] for (_, name), row in group.iterrows()}
        yield title, rows, {name: each for name, each in chosen.items() if each}


def _row(name, row, seeds, digits):
    level = _with_error(row["mean"], row["spread"], digits)
    if row["runs"] < seeds:
        level += f" (n={row['runs']})"
    if row["verdict"] == "baseline":
        return name, level, "", "", ""
    change = _with_error(row["change"], row["standard_error"], digits, "+")
    p = "" if np.isnan(row["corrected_p"]) else f"p {row['corrected_p']:.2f}"
    return name, level, change, p, row["verdict"]


def _cell(text):
    return f"<td style='text-align: left'>{html.escape(text)}</td>"


def _wrapped(text):
    return textwrap.wrap(
        " ".join(text.split()), WIDTH, initial_indent="  ", subsequent_indent="    "
    )


def _digits(means):
    """The number of decimals for four significant digits, in any unit."""
    largest = np.abs(means).max()
    return int(np.clip(3 - np.floor(np.log10(largest)), 0, 9)) if largest > 0 else 2


def _with_error(number, error, digits, sign=""):
    """Formats a number and its error, which is NaN for a single seed."""
    number = f"{number:{sign}z6.{digits}f}"
    return number if np.isnan(error) else f"{number} ± {error:.{digits}f}"
