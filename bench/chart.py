"""Draws a small SVG line chart with logarithmic axes. Its colours are readable on light and dark backgrounds."""
import math
from html import escape

WIDTH, HEIGHT = 760, 400
LEFT, RIGHT, TOP, BOTTOM = 62, 152, 44, 48  # margins; the right one has the names of the lines
GREY = "#848d97"
LINE_HEIGHT = 16  # of the names


def ticks(low, high):
    """1, 2, 5, 10, ...: from the last one <= low to the first one >= high."""
    values = [m * 10 ** e for e in range(-3, 9) for m in (1, 2, 5)]
    return [v for i, v in enumerate(values) if (i + 1 == len(values) or values[i + 1] > low) and (i == 0 or values[i - 1] < high)]


def place(low, high, start, end):
    span = math.log(high / low) or 1
    return lambda value: start + (end - start) * math.log(value / low) / span


def spread(positions):
    """The positions, moved apart as far as the names need."""
    order = sorted(range(len(positions)), key=lambda i: positions[i])
    placed = list(positions)
    for before, i in zip(order, order[1:]):
        placed[i] = max(placed[i], placed[before] + LINE_HEIGHT)
    over = placed[order[-1]] - (HEIGHT - BOTTOM) if order else 0
    return [p - max(0, over) for p in placed]


def text(x, y, words, anchor="start", colour=GREY, weight="normal"):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-weight="{weight}">{escape(words)}</text>'


def axes(xs, marks, at_x, at_y, x_title):
    parts = []
    for value in marks:
        y = at_y(value)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{GREY}" stroke-opacity="0.3"/>')
        parts.append(text(LEFT - 8, y + 4, f"{value:,.0f}", "end"))
    parts += [text(at_x(x), HEIGHT - BOTTOM + 20, f"{x:,}", "middle") for x in xs]
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, x_title, "middle"))
    return parts


def line(points, colour, dashed):
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    return [f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'] + [
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in points]


def draw(title, x_title, lines, limit=None):
    """lines: [(name, colour, dashed, {x: y})], at least one point; limit: (name, y), a dashed horizontal line."""
    lines = [entry for entry in lines if entry[3]]
    xs = sorted({x for *_, points in lines for x in points})
    ys = [y for *_, points in lines for y in points.values()] + ([limit[1]] if limit else [])
    marks = ticks(min(ys), max(ys))
    at_x = place(xs[0], xs[-1], LEFT + 16, WIDTH - RIGHT - 10)
    at_y = place(marks[0], marks[-1], HEIGHT - BOTTOM, TOP)
    parts = [text(LEFT - 48, 20, title, weight="bold")] + axes(xs, marks, at_x, at_y, x_title)
    names = []
    if limit:
        y = at_y(limit[1])
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{GREY}" stroke-width="1.5" stroke-dasharray="9 5"/>')
        names.append((y, limit[0], GREY))
    for name, colour, dashed, points in lines:
        drawn = [(at_x(x), at_y(y)) for x, y in sorted(points.items())]
        parts += line(drawn, colour, dashed)
        names.append((drawn[-1][1], name, colour))
    for y, (_, name, colour) in zip(spread([n[0] for n in names]), names):
        parts.append(text(WIDTH - RIGHT + 8, y + 4, name, colour=colour))
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
            f'font-family="system-ui, sans-serif" font-size="13"><title>{escape(title)}</title>')
    return "\n".join([head, *parts, "</svg>"]) + "\n"
