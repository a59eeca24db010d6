#include "m2bert/data/text_row.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "m2bert/data/mask_tokens.h"
#include "m2bert/error.h"
#include "m2bert/io/utf8.h"

namespace m2bert::data {
namespace {

// Appends the first `most` values. Values that do not fit become kNone, which is no valid id or label.
constexpr int32_t kNone = INT32_MIN;

template <class T>
void take(std::string_view bytes, size_t most, std::vector<int32_t>& out) {
  const size_t count = std::min(most, bytes.size() / sizeof(T));
  for (size_t i = 0; i < count; ++i) {
    T value;
    std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof value);
    out.push_back(std::in_range<int32_t>(value) ? static_cast<int32_t>(value) : kNone);
  }
}

void take(const MdsArray& array, size_t most, std::vector<int32_t>& out, const std::string& where) {
  switch (array.type) {
    case MdsType::uint8: return take<uint8_t>(array.bytes, most, out);
    case MdsType::int8: return take<int8_t>(array.bytes, most, out);
    case MdsType::uint16: return take<uint16_t>(array.bytes, most, out);
    case MdsType::int16: return take<int16_t>(array.bytes, most, out);
    case MdsType::uint32: return take<uint32_t>(array.bytes, most, out);
    case MdsType::int32: return take<int32_t>(array.bytes, most, out);
    case MdsType::uint64: return take<uint64_t>(array.bytes, most, out);
    case MdsType::int64: return take<int64_t>(array.bytes, most, out);
    default: fail(where, ": an array of ", name_of(array.type), ", wants whole numbers");
  }
}

}  // namespace

TextRowReader::TextRowReader(tokenize::WordPiece tokenizer, size_t length, bool given_labels)
    : tokenizer_(std::move(tokenizer)), length_(length), given_labels_(given_labels) {
  require(length_ >= 3, "max_seq_len ", length_, ": wants at least 3, room for a token between [CLS] and [SEP]");
}

void TextRowReader::check(const MdsShardInfo& info, const std::string& where) const {
  if (const auto text = info.find_column("text"); text && !given_labels_) {
    const std::string& encoding = info.columns[*text].encoding;
    require(encoding == "str" || encoding == "bytes", where, ": its column text has the encoding ", io::printable(encoding, 60),
            ", wants str or bytes");
    return;
  }
  std::string names;
  for (const MdsColumn& column : info.columns) names += (names.empty() ? "" : ", ") + io::printable(column.name, 60);
  for (const char* name : {"tokens", "labels"}) {
    if (!given_labels_ && name == std::string_view("labels")) break;
    const auto column = info.find_column(name);
    require(column.has_value(), where,
            given_labels_ ? ": masking 'given' wants columns tokens and labels" : ": wants a column text or tokens", "; it has ", names);
    const std::string& encoding = info.columns[*column].encoding;
    require(encoding == "bytes" || encoding.starts_with("ndarray"), where, ": its column ", name, " has the encoding ",
            io::printable(encoding, 60), ", wants bytes or ndarray");
  }
}

std::vector<int32_t> TextRowReader::read_ids(const MdsShard& shard, uint64_t sample, size_t column) const {
  std::vector<int32_t> out;
  if (shard.info().columns[column].encoding == "bytes") {
    const std::string_view bytes = shard.field(sample, column);
    if (bytes.size() % 8 != 0) fail(shard.where(sample, column), ": ", bytes.size(), " bytes are no int64 numbers");
    take<int64_t>(bytes, length_, out);
    return out;
  }
  take(std::get<MdsArray>(shard.value(sample, column)), length_, out, shard.where(sample, column));
  return out;
}

TextRow TextRowReader::read(const MdsShard& shard, uint64_t sample) const {
  const auto text = shard.info().find_column("text");
  if (!text || given_labels_) return read_tokens(shard, sample);
  const std::string_view bytes = shard.field(sample, *text);
  if (io::find_invalid_utf8(bytes)) fail(shard.where(sample, *text), ": is not UTF-8");
  return {.ids = tokenizer_.encode(bytes, {.max_length = length_}).ids};
}

TextRow TextRowReader::read_tokens(const MdsShard& shard, uint64_t sample) const {
  const size_t tokens = shard.info().column("tokens");
  TextRow row{.ids = read_ids(shard, sample, tokens), .from_tokens = true};
  for (const int32_t id : row.ids)
    if (!tokenizer_.has(id))
      fail(shard.where(sample, tokens), ": holds an id that the vocabulary of ", tokenizer_.vocab_size(), " tokens has not",
           id == kNone ? "" : ": " + std::to_string(id));
  if (!given_labels_) return row;
  const size_t labels = shard.info().column("labels");
  row.labels = read_ids(shard, sample, labels);
  if (row.labels.size() != row.ids.size())
    fail(shard.where(sample, labels), ": has ", row.labels.size(), " labels for ", row.ids.size(), " tokens");
  for (const int32_t label : row.labels)
    if (label != kNoLabel && !tokenizer_.has(label)) fail(shard.where(sample, labels), ": holds a label that is neither -100 nor a token");
  return row;
}

}  // namespace m2bert::data
