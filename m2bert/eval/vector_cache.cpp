#include "m2bert/eval/vector_cache.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>

#include "m2bert/error.h"
#include "m2bert/infer/read_ahead.h"
#include "m2bert/io/file.h"
#include "m2bert/io/hash.h"
#include "m2bert/io/interrupt.h"
#include "m2bert/io/json.h"
#include "m2bert/io/log.h"

namespace m2bert::eval {

namespace fs = std::filesystem;

namespace {

constexpr size_t kBlockTexts = 512, kBlockTokens = 1 << 16;

// The file of a block is this header, then the vectors.
struct Header {
  char magic[8] = {'m', '2', 'b', 'v', 'e', 'c', 's', '1'};
  uint64_t rows = 0, dim = 0, tokens = 0, truncated = 0, hash = 0;  // hash: of the vectors, with that of the counts as seed
};

uint64_t checksum(const Header& header, std::string_view vectors) {
  const uint64_t counts[] = {header.rows, header.dim, header.tokens, header.truncated};
  return io::hash64(vectors, io::hash64({reinterpret_cast<const char*>(counts), sizeof counts}));
}

std::string_view bytes_of(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

void write_block(const fs::path& file, const VectorBlock& block, size_t dim) {
  Header header;
  header.rows = block.rows;
  header.dim = dim;
  header.tokens = block.tokens;
  header.truncated = block.truncated;
  header.hash = checksum(header, bytes_of(block.vectors));
  io::AtomicFile out(file);
  out.write(&header, sizeof header);
  out.write(bytes_of(block.vectors));
  out.commit();
}

// nullopt: there is no such file, or it is damaged, which a warning says.
std::optional<VectorBlock> read_block(const fs::path& file, size_t rows, size_t dim) {
  std::error_code none;
  if (!fs::exists(file, none)) return std::nullopt;
  const std::string bytes = io::read_file(file);
  Header header;
  const Header expected;
  const bool has_header = bytes.size() >= sizeof header;
  if (has_header) std::memcpy(&header, bytes.data(), sizeof header);
  const std::string_view vectors = std::string_view(bytes).substr(has_header ? sizeof header : bytes.size());
  if (!has_header || std::memcmp(header.magic, expected.magic, sizeof header.magic) != 0 || header.rows != rows || header.dim != dim ||
      vectors.size() != rows * dim * sizeof(float) || header.hash != checksum(header, vectors)) {
    io::warn(file.string(), ": is damaged; its vectors are computed again");
    return std::nullopt;
  }
  VectorBlock block{rows, std::vector<float>(rows * dim), header.tokens, header.truncated};
  std::memcpy(block.vectors.data(), vectors.data(), vectors.size());
  return block;
}

// Names a block after its texts.
std::string name_of(std::span<const std::string> texts) {
  io::Hasher hasher;
  for (const std::string& text : texts) {
    const uint64_t size = text.size();
    hasher.update({reinterpret_cast<const char*>(&size), sizeof size});
    hasher.update(text);
  }
  return hasher.hash128() + ".vectors";
}

}  // namespace

BlockSize::BlockSize(const infer::BatchOptions& options)
    : batch_size_(static_cast<size_t>(options.batch_size)),
      max_length_(static_cast<size_t>(options.max_length)),
      padded_(options.pad == infer::PadMode::max) {}

bool BlockSize::add(std::string_view text) {
  ++texts_;
  tokens_ += padded_ ? max_length_ : std::min(max_length_, text.size() / 4 + 2);  // of English text, about
  if (texts_ % batch_size_ != 0 || (texts_ < kBlockTexts && tokens_ < kBlockTokens)) return false;
  texts_ = tokens_ = 0;
  return true;
}

// A block as the reading thread prepares it: with its vectors, if the cache has them, otherwise as windows of tokens.
struct CachedEmbedder::ReadBlock {
  fs::path file;  // of the cache; empty: there is no cache
  size_t rows = 0;
  std::optional<VectorBlock> cached;
  std::vector<infer::Window> windows;
};

class CachedEmbedder::Reader {
 public:
  Reader(infer::NextText next_text, infer::Batcher batcher, size_t dim, fs::path folder)
      : next_text_(std::move(next_text)), batcher_(std::move(batcher)), dim_(dim), folder_(std::move(folder)), size_(batcher_.options()) {}

  std::optional<ReadBlock> next() {
    const std::vector<std::string> texts = read();
    if (texts.empty()) return std::nullopt;
    ReadBlock block;
    block.rows = texts.size();
    if (!folder_.empty()) {
      block.file = folder_ / name_of(texts);
      block.cached = read_block(block.file, block.rows, dim_);
    }
    if (!block.cached)
      batcher_.for_each_window(infer::each_of(texts), [&](const infer::Window& window, uint64_t) { block.windows.push_back(window); });
    return block;
  }

 private:
  std::vector<std::string> read() {
    std::vector<std::string> texts;
    for (std::string text; !ended_;) {
      ended_ = !next_text_(text);
      if (ended_) break;
      texts.push_back(text);
      if (size_.add(text)) break;
    }
    return texts;
  }

  infer::NextText next_text_;
  infer::Batcher batcher_;
  size_t dim_;
  fs::path folder_;
  BlockSize size_;
  bool ended_ = false;
};

CachedEmbedder::CachedEmbedder(const infer::Embedder& embedder, io::Tree settings, fs::path cache)
    : embedder_(embedder), settings_(std::move(settings)), cache_(std::move(cache)) {}

// Makes the folder of these settings, with a file that says what they are.
fs::path CachedEmbedder::folder_of(const std::string& prompt) const {
  if (cache_.empty()) return {};
  io::Tree settings = settings_;
  settings.set("prompt", prompt);
  const fs::path folder = cache_ / io::hash128(io::to_json(settings));
  std::error_code error;
  fs::create_directories(folder, error);
  require(!error, "cache ", cache_.string(), ": cannot make the folder ", folder.string(), ": ", error.message());
  if (const fs::path file = folder / "settings.json"; !fs::exists(file)) io::write_file(file, io::to_json(settings, 2) + "\n");
  return folder;
}

VectorBlock CachedEmbedder::compute(const ReadBlock& block, uint64_t first) const {
  VectorBlock result{block.rows, {}, 0, 0};
  infer::PassQueue passes = embedder_.pass_queue();
  for (const infer::Window& window : block.windows) passes.add(window);
  for (const infer::Window& window : block.windows) {
    const infer::Embeddings part = embedder_.read(window, passes, first, io::interrupted);
    io::throw_if_interrupted();
    result.vectors.insert(result.vectors.end(), part.vectors.begin(), part.vectors.end());
    for (const int32_t tokens : part.tokens) result.tokens += static_cast<uint64_t>(tokens);
    for (const uint8_t cut : part.truncated) result.truncated += cut;
    first += window.texts();
  }
  return result;
}

void CachedEmbedder::for_each_block(const infer::NextText& next_text, const std::string& prompt,
                                    const std::function<void(const VectorBlock&)>& use) const {
  const auto reader = std::make_shared<Reader>(next_text, embedder_.batcher().with_prompt(prompt), dim(), folder_of(prompt));
  infer::ReadAhead<ReadBlock> blocks([reader] { return reader->next(); }, 2);
  uint64_t first = 0;
  while (std::optional<ReadBlock> block = blocks.next(io::interrupted)) {
    if (!block->cached) {
      block->cached = compute(*block, first);
      if (!block->file.empty()) write_block(block->file, *block->cached, dim());
    }
    use(*block->cached);
    first += block->rows;
  }
  io::throw_if_interrupted();
}

VectorBlock CachedEmbedder::operator()(std::span<const std::string> texts, const std::string& prompt,
                                       const std::function<void(uint64_t texts_done)>& progress) const {
  VectorBlock all;
  const auto shared = std::make_shared<const std::vector<std::string>>(texts.begin(), texts.end());
  const auto next = [shared, at = size_t{0}](std::string& text) mutable {
    if (at == shared->size()) return false;
    text = (*shared)[at++];
    return true;
  };
  for_each_block(next, prompt, [&](const VectorBlock& block) {
    all.rows += block.rows;
    all.vectors.insert(all.vectors.end(), block.vectors.begin(), block.vectors.end());
    all.tokens += block.tokens;
    all.truncated += block.truncated;
    if (progress) progress(all.rows);
  });
  return all;
}

}  // namespace m2bert::eval
