#include "m2bert/eval/results.h"

#include <algorithm>
#include <cmath>

#include "m2bert/io/html_page.h"
#include "m2bert/io/json.h"
#include "m2bert/io/number_text.h"

namespace m2bert::eval {
namespace {

std::string fixed4(double value) { return io::fixed_text(value, 4); }

const Score* find_score(const ResultRow& row, const std::string& name) {
  const auto found = std::ranges::find(row.scores, name, &Score::name);
  return found == row.scores.end() ? nullptr : &*found;
}

std::string score_text(const Score* score) {
  if (score == nullptr || !std::isfinite(score->value)) return "-";
  std::string text = fixed4(score->value);
  if (score->interval) text += " [" + fixed4(score->interval->low) + ", " + fixed4(score->interval->high) + "]";
  return text;
}

using Cells = std::vector<std::vector<std::string>>;

// The headings, then a line a row.
Cells cells_of(const Results& results, const std::vector<std::string>& scores) {
  Cells cells = {results.labels};
  cells.front().insert(cells.front().end(), scores.begin(), scores.end());
  for (const ResultRow& row : results.rows) {
    cells.push_back(row.labels);
    for (const std::string& name : scores) cells.back().push_back(score_text(find_score(row, name)));
  }
  return cells;
}

std::vector<std::string> shown_scores(const Results& results) {
  return results.main_scores.empty() ? score_names(results) : results.main_scores;
}

// The length in characters: names of data sets may have others than ASCII.
size_t width_of(const std::string& text) {
  return static_cast<size_t>(std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::vector<size_t> widths_of(const Cells& cells) {
  std::vector<size_t> widths(cells.front().size());
  for (const auto& line : cells)
    for (size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], width_of(line[i]));
  return widths;
}

std::string padded(const std::string& text, size_t width) { return text + std::string(width - width_of(text), ' '); }

std::string markdown_text(const std::string& text) {
  std::string out;
  for (const char c : text) out += c == '|' ? "\\|" : std::string(1, c);
  return out;
}

std::string html_table(const Cells& cells) {
  std::string out = "<table>\n";
  for (size_t line = 0; line < cells.size(); ++line) {
    const std::string tag = line == 0 ? "th" : "td";
    out += "<tr>";
    for (const std::string& cell : cells[line]) out += "<" + tag + ">" + io::html_text(cell) + "</" + tag + ">";
    out += "</tr>\n";
  }
  return out + "</table>\n";
}

Cells settings_cells(const io::Tree& settings) {
  Cells cells = {{"setting", "value"}};
  for (const auto& [key, value] : settings.members()) cells.push_back({key, value.is_string() ? value.string() : io::to_json(value)});
  return cells;
}

io::Tree json_number(double value) { return std::isfinite(value) ? io::Tree(value) : io::Tree(); }

io::Tree row_json(const Results& results, const ResultRow& row) {
  io::Tree tree = io::Tree::map();
  for (size_t i = 0; i < row.labels.size(); ++i) {
    std::string key = results.labels[i];
    std::ranges::replace(key, ' ', '_');
    tree.set(key, row.labels[i]);
  }
  for (const auto& [key, value] : row.details.members()) tree.set(key, value);
  io::Tree scores = io::Tree::map(), intervals = io::Tree::map();
  for (const Score& score : row.scores) {
    scores.set(score.name, json_number(score.value));
    if (score.interval) intervals.set(score.name, io::Tree::list({json_number(score.interval->low), json_number(score.interval->high)}));
  }
  tree.set("scores", scores);
  if (intervals.size() > 0) tree.set("intervals", intervals);
  return tree;
}

}  // namespace

std::vector<std::string> score_names(const Results& results) {
  std::vector<std::string> names;
  for (const ResultRow& row : results.rows)
    for (const Score& score : row.scores)
      if (std::ranges::find(names, score.name) == names.end()) names.push_back(score.name);
  return names;
}

std::string text_table(const Results& results) {
  const Cells cells = cells_of(results, shown_scores(results));
  const auto widths = widths_of(cells);
  std::string out;
  for (const auto& line : cells) {
    std::string text;
    for (size_t i = 0; i < line.size(); ++i) text += (i == 0 ? "" : "  ") + padded(line[i], widths[i]);
    text.erase(text.find_last_not_of(' ') + 1);
    out += text + "\n";
  }
  for (const std::string& note : results.notes) out += note + "\n";
  return out;
}

std::string markdown_table(const Results& results) {
  const Cells cells = cells_of(results, shown_scores(results));
  std::string out;
  for (size_t line = 0; line < cells.size(); ++line) {
    out += "|";
    for (const std::string& cell : cells[line]) out += " " + markdown_text(cell) + " |";
    out += "\n";
    if (line > 0) continue;
    out += "|";
    for (size_t i = 0; i < cells[line].size(); ++i) out += i < results.labels.size() ? " --- |" : " ---: |";
    out += "\n";
  }
  for (const std::string& note : results.notes) out += "\n" + note + "\n";
  return out;
}

io::Tree results_json(const Results& results) {
  io::Tree rows = io::Tree::list(), notes = io::Tree::list();
  for (const ResultRow& row : results.rows) rows.push_back(row_json(results, row));
  for (const std::string& note : results.notes) notes.push_back(note);
  return {{"settings", results.settings}, {"results", rows}, {"notes", notes}};
}

std::string results_page(const Results& results, const std::string& more) {
  std::string body = "<h1>" + io::html_text(results.title) + "</h1>\n" + html_table(cells_of(results, score_names(results)));
  for (const std::string& note : results.notes) body += "<p>" + io::html_text(note) + "</p>\n";
  body += more;
  if (results.settings.size() > 0) body += "<h2>Settings</h2>\n" + html_table(settings_cells(results.settings));
  return io::html_page({kPageGenerator, "m2bert: " + results.title, body, ""});
}

}  // namespace m2bert::eval
