#include "m2bert/data/parquet_source.h"

#include <algorithm>
#include <utility>

#include "m2bert/data/bad_record.h"
#include "m2bert/data/parquet.h"
#include "m2bert/data/text_head.h"
#include "m2bert/error.h"
#include "m2bert/io/file.h"
#include "m2bert/io/utf8.h"

namespace m2bert::data {
namespace {

class ParquetSource : public Source {
 public:
  ParquetSource(const std::filesystem::path& path, const SourceOptions& options)
      : map_(path),
        file_({reinterpret_cast<const char*>(map_.bytes().data()), map_.bytes().size()}, path.string()),
        keep_(options.records ? readable_columns() : options.keep),
        skip_bad_(options.skip_bad) {
    if (!options.records) text_.emplace_back(file_, column_of(options.field));
    for (const std::string& name : keep_) kept_columns_.emplace_back(file_, column_of(name));
  }

  bool next(std::string& text) override {
    while (row_ < file_.rows()) {
      try {
        read(text);
        return true;
      } catch (const BadRecord& e) {
        if (!skip_bad_) throw;
        if (skipped_++ == 0) first_skipped_ = e.what();
      }
    }
    return false;
  }
  const io::Tree& kept() const override { return kept_; }
  uint64_t skipped() const override { return skipped_; }
  const std::string& first_skipped() const override { return first_skipped_; }
  std::string where() const override { return file_.name() + ": row " + std::to_string(row_); }
  Position position() const override { return {.record = row_}; }
  void skip_to(const Position& position) override {
    require(position.record >= row_ && position.record <= file_.rows(), file_.name(), ": has ", file_.rows(), " rows, cannot go on at row ",
            position.record + 1);
    for (; row_ < position.record; ++row_) {
      for (ParquetColumnReader& column : text_) column.next();
      for (ParquetColumnReader& column : kept_columns_) column.next();
    }
  }
  std::optional<double> fraction() const override {
    return file_.rows() == 0 ? 1 : static_cast<double>(row_) / static_cast<double>(file_.rows());
  }
  const std::string& name() const override { return file_.name(); }

 private:
  void read(std::string& text) {
    ++row_;
    const io::Tree value = text_.empty() ? io::Tree("") : text_[0].next();
    kept_ = io::Tree::map();
    for (size_t i = 0; i < keep_.size(); ++i) kept_.set(keep_[i], kept_columns_[i].next());
    if (!value.is_string()) bad_record(where(), ": wants a text, got ", value.shown());
    check_text(value.string(), where());
    text = value.string();
  }

  std::vector<std::string> readable_columns() const {
    std::vector<std::string> names;
    for (const ParquetColumn& column : file_.columns())
      if (column.unreadable.empty()) names.push_back(column.name);
    return names;
  }

  size_t column_of(const std::string& field) const {
    const auto& columns = file_.columns();
    if (field.empty() && columns.size() == 1) return 0;
    const std::string wanted = field.empty() ? "text" : field;
    const auto is_wanted = [&](const ParquetColumn& column) { return column.name == wanted; };
    const auto found = std::find_if(columns.begin(), columns.end(), is_wanted);
    if (found == columns.end())
      fail(name(), ": has no column \"", io::printable(wanted, 60), "\"; it has ", listed(), "; say which one by name");
    require(std::none_of(found + 1, columns.end(), is_wanted), name(), ": has two columns ", io::printable(wanted, 60));
    return static_cast<size_t>(found - columns.begin());
  }

  std::string listed() const {
    std::string out;
    for (size_t i = 0; i < std::min<size_t>(file_.columns().size(), 20); ++i)
      out += (i > 0 ? ", " : "") + io::printable(file_.columns()[i].name, 60);
    return file_.columns().size() > 20 ? out + ", ..." : out;
  }

  io::MappedFile map_;
  ParquetFile file_;
  std::vector<ParquetColumnReader> text_;  // the column of the text, if there is one
  std::vector<std::string> keep_;
  std::vector<ParquetColumnReader> kept_columns_;
  io::Tree kept_ = io::Tree::map();
  bool skip_bad_;
  uint64_t row_ = 0, skipped_ = 0;
  std::string first_skipped_;
};

}  // namespace

std::unique_ptr<Source> open_parquet_source(const std::filesystem::path& path, const SourceOptions& options) {
  require(path != "-", "standard input: a Parquet file is read from its end; give it as a file");
  return std::make_unique<ParquetSource>(path, options);
}

}  // namespace m2bert::data
