#include "m2bert/data/parquet.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <optional>
#include <utility>

#include "m2bert/data/thrift.h"
#include "m2bert/error.h"
#include "m2bert/io/codec.h"
#include "m2bert/io/utf8.h"

namespace m2bert::data {
namespace {

using Type = ThriftReader::Type;
using io::Tree;

constexpr std::string_view kMagic = "PAR1";
constexpr int kMaxDepth = 64;                   // of the schema
constexpr int64_t kMaxPage = int64_t{1} << 30;  // bytes of a page
enum class Repetition { required = 0, optional = 1, repeated = 2 };

constexpr size_t kMaxItems = size_t{1} << 20;  // of a list

// A node of the schema, as the file lists them: each group before its children.
struct Element {
  std::string name;
  int64_t type = -1, children = 0, repetition = 0;
  bool list = false, decimal = false, is_unsigned = false;
};

// The annotations that say more than the type. Source: parquet.thrift, LogicalType.
void read_logical_type(ThriftReader& in, Element& element) {
  in.structure([&](int id, Type type) {
    element.list |= id == 3;
    element.decimal |= id == 5;
    if (id != 10) return in.skip(type);
    in.structure([&](int integer_id, Type integer_type) {
      if (integer_id == 2) element.is_unsigned = !in.boolean(integer_type);
      else in.skip(integer_type);
    });
  });
}

// The same in old files. Source: parquet.thrift, ConvertedType.
void set_converted_type(int64_t converted, Element& element) {
  element.list |= converted == 3;
  element.decimal |= converted == 5;
  element.is_unsigned |= converted >= 11 && converted <= 14;
}

Element read_element(ThriftReader& in) {
  Element element;
  in.structure([&](int id, Type type) {
    switch (id) {
      case 1: element.type = in.integer(type); break;
      case 3: element.repetition = in.integer(type); break;
      case 4: element.name = in.binary(type); break;
      case 5: element.children = in.integer(type); break;
      case 6: set_converted_type(in.integer(type), element); break;
      case 10: read_logical_type(in, element); break;
      default: in.skip(type);
    }
  });
  return element;
}

struct Chunk : ParquetChunk {
  int64_t type = -1, data_offset = 0, dictionary_offset = 0, bytes = 0;
  bool elsewhere = false, encrypted = false;
};

void read_chunk_metadata(ThriftReader& in, Chunk& chunk) {
  in.structure([&](int id, Type type) {
    switch (id) {
      case 1: chunk.type = in.integer(type); break;
      case 4: chunk.codec = in.integer(type); break;
      case 5: chunk.values = in.integer(type); break;
      case 7: chunk.bytes = in.integer(type); break;
      case 9: chunk.data_offset = in.integer(type); break;
      case 11: chunk.dictionary_offset = in.integer(type); break;
      default: in.skip(type);
    }
  });
}

Chunk read_chunk(ThriftReader& in) {
  Chunk chunk;
  in.structure([&](int id, Type type) {
    chunk.elsewhere |= id == 1;
    chunk.encrypted |= id == 8 || id == 9;
    if (id == 3 && type == Type::structure) read_chunk_metadata(in, chunk);
    else in.skip(type);
  });
  return chunk;
}

struct RowGroup {
  std::vector<Chunk> chunks;
  int64_t rows = 0;
};

RowGroup read_row_group(ThriftReader& in) {
  RowGroup group;
  in.structure([&](int id, Type type) {
    if (id == 1) in.list(type, [&](Type) { group.chunks.push_back(read_chunk(in)); });
    else if (id == 3) group.rows = in.integer(type);
    else in.skip(type);
  });
  return group;
}

struct Metadata {
  std::vector<Element> schema;
  std::vector<RowGroup> groups;
  int64_t rows = 0;
  bool encrypted = false;
};

Metadata read_metadata(std::string_view footer, const std::string& name) {
  Metadata metadata;
  ThriftReader in(footer, name);
  in.structure([&](int id, Type type) {
    metadata.encrypted |= id == 8;
    if (id == 2) in.list(type, [&](Type) { metadata.schema.push_back(read_element(in)); });
    else if (id == 3) metadata.rows = in.integer(type);
    else if (id == 4) in.list(type, [&](Type) { metadata.groups.push_back(read_row_group(in)); });
    else in.skip(type);
  });
  return metadata;
}

// The columns and the stored columns ("leaves") of a schema.
class Schema {
 public:
  Schema(const std::vector<Element>& elements, const std::string& name) : elements_(elements), name_(name) {
    require(!elements.empty() && elements[0].children > 0, name, ": has no columns");
    at_ = 1;
    for (int64_t i = 0; i < elements[0].children; ++i) add_column();
    require(at_ == elements.size(), name, ": its schema is damaged: it has ", elements.size(), " nodes, of which ", at_,
            " belong to a column");
  }
  std::vector<ParquetColumn> columns;
  std::vector<int64_t> leaf_types;

 private:
  const Element& node(size_t at) const {
    require(at < elements_.size(), name_, ": its schema is damaged: it ends early");
    return elements_[at];
  }

  // Passes over a node and its children.
  void pass(int depth) {
    require(depth < kMaxDepth, name_, ": its schema is nested too deeply");
    const Element& element = node(at_++);
    require(element.repetition >= 0 && element.repetition <= 2, name_, ": its schema is damaged: the repetition of ",
            io::printable(element.name, 60), " is ", element.repetition);
    require(element.children >= 0, name_, ": its schema is damaged: ", io::printable(element.name, 60), " has ", element.children,
            " children");
    if (element.children == 0) leaf_types.push_back(element.type);
    for (int64_t i = 0; i < element.children; ++i) pass(depth + 1);
  }

  static int optional(const Element& element) { return element.repetition == static_cast<int64_t>(Repetition::optional) ? 1 : 0; }
  static bool repeated(const Element& element) { return element.repetition == static_cast<int64_t>(Repetition::repeated); }

  void add_column() {
    const size_t begin = at_;
    ParquetColumn column;
    column.leaf = leaf_types.size();
    pass(1);
    const Element& top = elements_[begin];
    column.name = top.name;
    if (top.children == 0) {
      column.is_list = repeated(top);
      column.max_definition = column.is_list ? 1 : optional(top);
      set_type(column, top);
    } else if (!set_list(column, begin)) {
      column.unreadable = "holds nested values";
    }
    columns.push_back(std::move(column));
  }

  // A group LIST of one repeated node, which is the item or a group of the item.
  bool set_list(ParquetColumn& column, size_t begin) {
    const Element& top = elements_[begin];
    const size_t nodes = at_ - begin;
    if (!top.list || repeated(top) || top.children != 1 || nodes < 2 || nodes > 3) return false;
    const Element& middle = elements_[begin + 1];
    const Element& item = elements_[at_ - 1];
    if (!repeated(middle) || (nodes == 3 && repeated(item))) return false;
    column.is_list = true;
    column.list_level = optional(top);
    column.max_definition = column.list_level + 1 + (nodes == 3 ? optional(item) : 0);
    set_type(column, item);
    return true;
  }

  static void set_type(ParquetColumn& column, const Element& leaf) {
    column.is_unsigned = leaf.is_unsigned;
    if (leaf.type < 0 || leaf.type > 7) column.unreadable = "holds values of an unknown type";
    else column.type = static_cast<ParquetType>(leaf.type);
    if (column.type == ParquetType::int96) column.unreadable = "holds times of 96 bits";
    if (column.type == ParquetType::fixed_bytes) column.unreadable = "holds bytes of a fixed size";
    if (leaf.decimal) column.unreadable = "holds decimal numbers";
  }

  const std::vector<Element>& elements_;
  const std::string& name_;
  size_t at_ = 0;
};

ParquetChunk checked(const Chunk& chunk, int64_t type, uint64_t end, const std::string& where) {
  require(!chunk.encrypted, where, ": is encrypted, which is not read");
  require(!chunk.elsewhere, where, ": is in another file, which is not read");
  require(chunk.type == type, where, ": has the type ", chunk.type, ", its schema says ", type);
  const bool has_dictionary = chunk.dictionary_offset > 0 && chunk.dictionary_offset < chunk.data_offset;
  const int64_t begin = has_dictionary ? chunk.dictionary_offset : chunk.data_offset;
  const bool inside = begin >= static_cast<int64_t>(kMagic.size()) && chunk.bytes >= 0 && static_cast<uint64_t>(begin) <= end &&
                      static_cast<uint64_t>(chunk.bytes) <= end - static_cast<uint64_t>(begin);
  require(inside, where, ": is at byte ", begin, " and has ", chunk.bytes, " bytes, which are not inside the file");
  require(chunk.values >= 0, where, ": has ", chunk.values, " values");
  ParquetChunk out = chunk;
  out.offset = static_cast<uint64_t>(begin);
  out.size = static_cast<uint64_t>(chunk.bytes);
  return out;
}

ParquetRowGroup checked(const RowGroup& group, const std::vector<int64_t>& types, uint64_t end, const std::string& where) {
  require(group.rows >= 0, where, ": has ", group.rows, " rows");
  require(group.chunks.size() == types.size(), where, ": has ", group.chunks.size(), " columns, the schema has ", types.size());
  ParquetRowGroup out{.rows = static_cast<uint64_t>(group.rows), .chunks = {}};
  for (size_t i = 0; i < types.size(); ++i)
    out.chunks.push_back(checked(group.chunks[i], types[i], end, where + ", column " + std::to_string(i + 1)));
  return out;
}

// Source: parquet.thrift, CompressionCodec.
std::optional<io::Codec> codec_of(int64_t number, const std::string& where) {
  switch (number) {
    case 0: return std::nullopt;
    case 1: return io::Codec::snappy;
    case 2: return io::Codec::gzip;
    case 4: return io::Codec::brotli;
    case 6: return io::Codec::zstd;
    default: break;
  }
  constexpr std::array names = {"", "", "", "LZO", "", "LZ4", "", "LZ4"};
  const bool known = number >= 0 && number < static_cast<int64_t>(names.size());
  fail(where, ": is compressed with ", known ? std::string(names[static_cast<size_t>(number)]) : "codec " + std::to_string(number),
       ", which is not read; write it with snappy or zstd");
}

// Source: parquet.thrift, PageHeader.
struct PageHeader {
  int64_t type = -1, uncompressed = -1, compressed = -1, values = -1, encoding = -1, level_encoding = 3;
  int64_t definition_bytes = 0, repetition_bytes = 0;  // of a data page of version 2
  bool is_compressed = true;
};

constexpr int kDataPage = 0, kDictionaryPage = 2, kDataPage2 = 3;

void read_data_page(ThriftReader& in, PageHeader& page) {
  in.structure([&](int id, Type type) {
    if (id == 1) page.values = in.integer(type);
    else if (id == 2) page.encoding = in.integer(type);
    else if (id == 3) page.level_encoding = in.integer(type);
    else in.skip(type);
  });
}

void read_dictionary_page(ThriftReader& in, PageHeader& page) {
  in.structure([&](int id, Type type) {
    if (id == 1) page.values = in.integer(type);
    else if (id == 2) page.encoding = in.integer(type);
    else in.skip(type);
  });
}

void read_data_page_2(ThriftReader& in, PageHeader& page) {
  in.structure([&](int id, Type type) {
    if (id == 1) page.values = in.integer(type);
    else if (id == 4) page.encoding = in.integer(type);
    else if (id == 5) page.definition_bytes = in.integer(type);
    else if (id == 6) page.repetition_bytes = in.integer(type);
    else if (id == 7) page.is_compressed = in.boolean(type);
    else in.skip(type);
  });
}

PageHeader read_page_header(ThriftReader& in) {
  PageHeader page;
  in.structure([&](int id, Type type) {
    if (id == 1) page.type = in.integer(type);
    else if (id == 2) page.uncompressed = in.integer(type);
    else if (id == 3) page.compressed = in.integer(type);
    else if (id == 5) read_data_page(in, page);
    else if (id == 7) read_dictionary_page(in, page);
    else if (id == 8) read_data_page_2(in, page);
    else in.skip(type);
  });
  return page;
}

std::string_view taken(std::string_view& bytes, int64_t size, const std::string& where, const char* what) {
  require(size >= 0 && static_cast<uint64_t>(size) <= bytes.size(), where, ": its ", what, " have ", size, " bytes, and ", bytes.size(),
          " are left");
  const std::string_view out = bytes.substr(0, static_cast<size_t>(size));
  bytes.remove_prefix(static_cast<size_t>(size));
  return out;
}

// Levels of version 1 have their size in front of them.
std::string_view taken_levels(std::string_view& bytes, const std::string& where) {
  uint32_t size = 0;
  std::memcpy(&size, taken(bytes, sizeof size, where, "levels").data(), sizeof size);
  return taken(bytes, size, where, "levels");
}

}  // namespace

ParquetFile::ParquetFile(std::string_view bytes, std::string name) : bytes_(bytes), name_(std::move(name)) {
  require(!bytes.ends_with("PARE"), name_, ": is encrypted, which is not read");
  const bool whole = bytes.size() >= 12 && bytes.starts_with(kMagic) && bytes.ends_with(kMagic);
  require(whole, name_, ": is no Parquet file, or was truncated");
  uint32_t size = 0;
  std::memcpy(&size, bytes.data() + bytes.size() - 8, sizeof size);
  require(size <= bytes.size() - 12, name_, ": its metadata has ", size, " bytes, the file has ", bytes.size());
  const size_t end = bytes.size() - 8 - size;
  const Metadata metadata = read_metadata(bytes.substr(end, size), name_);
  require(!metadata.encrypted, name_, ": is encrypted, which is not read");
  Schema schema(metadata.schema, name_);
  columns_ = std::move(schema.columns);
  for (const RowGroup& group : metadata.groups) {
    groups_.push_back(checked(group, schema.leaf_types, end, name_ + ": row group " + std::to_string(groups_.size() + 1)));
    rows_ += groups_.back().rows;
  }
  require(rows_ == static_cast<uint64_t>(metadata.rows), name_, ": has ", metadata.rows, " rows, its row groups have ", rows_);
}

struct ParquetColumnReader::State {
  const ParquetFile& file;
  const ParquetColumn& column;
  size_t group = 0;  // the next one
  uint64_t rows_left = 0;
  // Of the current row group:
  std::string_view pages;
  std::optional<io::Codec> codec;
  int64_t values_left = 0, page = 0;
  std::string dictionary_bytes, where;
  std::optional<std::vector<ParquetValue>> dictionary;
  // Of the current page:
  int64_t page_left = 0, encoding = 0;
  std::string page_bytes;
  std::string_view value_bytes;
  std::optional<ParquetRuns> repetitions, definitions;
  std::unique_ptr<ParquetValues> values;
  bool peeked = false;
  uint32_t peeked_repetition = 0;

  State(const ParquetFile& from, const ParquetColumn& of) : file(from), column(of) {}

  std::string place() const { return file.name() + ": column " + io::printable(column.name, 60) + ", row group " + std::to_string(group); }

  void next_group() {
    require(group < file.groups().size(), file.name(), ": has no more rows");
    const ParquetRowGroup& from = file.groups()[group++];
    const ParquetChunk& chunk = from.chunks[column.leaf];
    where = place();
    require(column.is_list || static_cast<uint64_t>(chunk.values) == from.rows, where, ": has ", chunk.values, " values for ", from.rows,
            " rows");
    rows_left = from.rows;
    pages = file.bytes().substr(chunk.offset, chunk.size);
    codec = codec_of(chunk.codec, where);
    values_left = chunk.values;
    page = 0;
    page_left = 0;
    dictionary.reset();
  }

  // The content of a page; kept in `buffer` if it was compressed.
  std::string_view unpacked(std::string_view bytes, int64_t size, bool compressed, std::string& buffer) const {
    if (!codec || !compressed) {
      require(size == static_cast<int64_t>(bytes.size()), where, ": has ", bytes.size(), " bytes, its header says ", size);
      return bytes;
    }
    buffer.clear();
    if (size > 0) io::decompress(*codec, bytes, static_cast<uint64_t>(size), where, [&](std::string_view piece) { buffer += piece; });
    return buffer;
  }

  void read_dictionary(const PageHeader& header, std::string_view bytes) {
    require(!dictionary, where, ": has two dictionaries");
    require(column.type != ParquetType::boolean, where, ": has a dictionary of booleans");
    require(header.encoding == 0 || header.encoding == 2, where, ": its dictionary has the encoding ", header.encoding);
    const std::string_view content = unpacked(bytes, header.uncompressed, true, dictionary_bytes);
    require(header.values >= 0 && static_cast<uint64_t>(header.values) <= content.size(), where, ": its dictionary has ", header.values,
            " values in ", content.size(), " bytes");
    const auto plain = parquet_values(0, column.type, content, nullptr, where);
    dictionary.emplace();
    for (int64_t i = 0; i < header.values; ++i) dictionary->push_back(plain->next());
  }

  void read_data(const PageHeader& header, std::string_view bytes) {
    require(header.values >= 0 && header.values <= values_left, where, ": has ", header.values, " values, and ", values_left, " are left");
    std::string_view repetition, definition;
    if (header.type == kDataPage2) {
      repetition = taken(bytes, header.repetition_bytes, where, "levels");
      definition = taken(bytes, header.definition_bytes, where, "levels");
      const int64_t size = header.uncompressed - header.repetition_bytes - header.definition_bytes;
      require(size >= 0, where, ": its levels are longer than its content");
      value_bytes = unpacked(bytes, size, header.is_compressed, page_bytes);
    } else {
      require(header.level_encoding == 3 || column.max_definition == 0, where, ": its levels have the encoding ", header.level_encoding,
              ", which is not read");
      value_bytes = unpacked(bytes, header.uncompressed, true, page_bytes);
      if (column.is_list) repetition = taken_levels(value_bytes, where);
      if (column.max_definition > 0) definition = taken_levels(value_bytes, where);
    }
    repetitions.reset();
    definitions.reset();
    if (column.is_list) repetitions.emplace(repetition, 1, where);
    if (column.max_definition > 0) definitions.emplace(definition, std::bit_width(static_cast<unsigned>(column.max_definition)), where);
    values.reset();  // made for the first value, which a page of nulls does not have
    encoding = header.encoding;
    page_left = header.values;
    values_left -= header.values;
  }

  void next_page() {
    where = place() + ", page " + std::to_string(++page);
    require(!pages.empty(), where, ": its pages end early");
    ThriftReader in(pages, where);
    const PageHeader header = read_page_header(in);
    pages.remove_prefix(in.position());
    const std::string_view bytes = taken(pages, header.compressed, where, "contents");
    require(header.uncompressed >= 0 && header.uncompressed <= kMaxPage, where, ": unpacks to ", header.uncompressed, " bytes; ", kMaxPage,
            " are the most");
    if (header.type == kDictionaryPage) read_dictionary(header, bytes);
    if (header.type == kDataPage || header.type == kDataPage2) read_data(header, bytes);
  }

  // The repetition level of the next value, which is not consumed. nullopt at the end of the row group.
  std::optional<uint32_t> peek() {
    if (peeked) return peeked_repetition;
    while (page_left == 0) {
      if (values_left == 0) return std::nullopt;
      next_page();
    }
    peeked_repetition = repetitions ? repetitions->next() : 0;
    peeked = true;
    return peeked_repetition;
  }

  // The definition level of the value that was peeked.
  int take_definition() {
    peeked = false;
    --page_left;
    if (!definitions) return 0;
    const auto level = static_cast<int>(definitions->next());
    require(level <= column.max_definition, where, ": has the definition level ", level, " of ", column.max_definition);
    return level;
  }

  Tree value() {
    if (!values) values = parquet_values(encoding, column.type, value_bytes, dictionary ? &*dictionary : nullptr, where);
    const ParquetValue value = values->next();
    switch (value.kind) {
      case ParquetValue::Kind::boolean: return value.integer != 0;
      case ParquetValue::Kind::integer: return integer(value.integer);
      case ParquetValue::Kind::number: return value.number;
      default: return value.text;
    }
  }

  Tree integer(int64_t value) const {
    if (!column.is_unsigned || value >= 0) return value;
    if (column.type == ParquetType::int32) return static_cast<uint32_t>(value);
    return static_cast<double>(static_cast<uint64_t>(value));
  }

  Tree item() { return take_definition() == column.max_definition ? value() : Tree(); }

  Tree list() {
    const int level = take_definition();
    if (level < column.list_level) return {};
    Tree out = Tree::list();
    if (level == column.list_level) return out;
    out.push_back(level == column.max_definition ? value() : Tree());
    while (const auto repetition = peek()) {
      if (*repetition == 0) break;
      require(out.size() < kMaxItems, where, ": a list has more than ", kMaxItems, " items");
      out.push_back(item());
    }
    return out;
  }

  Tree next() {
    while (rows_left == 0) next_group();
    const auto repetition = peek();
    require(repetition == 0U, where, ": has fewer values than rows");
    Tree out = column.is_list ? list() : item();
    --rows_left;
    require(rows_left > 0 || !peek(), where, ": has more values than rows");
    return out;
  }
};

ParquetColumnReader::ParquetColumnReader(const ParquetFile& file, size_t column)
    : state_(std::make_unique<State>(file, file.columns().at(column))) {
  const ParquetColumn& of = state_->column;
  require(of.unreadable.empty(), file.name(), ": column ", io::printable(of.name, 60), " ", of.unreadable, ", which is not read");
}
ParquetColumnReader::~ParquetColumnReader() = default;
ParquetColumnReader::ParquetColumnReader(ParquetColumnReader&&) noexcept = default;

io::Tree ParquetColumnReader::next() { return state_->next(); }

}  // namespace m2bert::data
