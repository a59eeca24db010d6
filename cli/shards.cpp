#include "cli/shards.h"

#include <chrono>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "cli/command.h"
#include "m2bert/error.h"
#include "m2bert/io/file.h"
#include "m2bert/io/interrupt.h"
#include "m2bert/io/json.h"
#include "m2bert/io/path.h"

namespace m2bert::cli {
namespace {

namespace fs = std::filesystem;

constexpr size_t hash_size = 32;  // the characters of a 128-bit hash

struct FrameHeader {
  uint64_t texts, tokens, truncated, without_result, rows, row_bytes, index_bytes;
  char input_hash[hash_size];
};
static_assert(sizeof(FrameHeader) == 7 * sizeof(uint64_t) + hash_size);

struct Frame {
  Done window;
  std::string rows, index;
};

// The text as a number of at most nine digits.
std::optional<uint64_t> number_in(const std::string& text) {
  if (text.empty() || text.size() > 9 || text.find_first_not_of("0123456789") != std::string::npos) return std::nullopt;
  return std::stoull(text);
}

std::optional<Shard> shard_of(const std::string& text, const std::string& between) {
  const size_t middle = text.find(between);
  if (middle == std::string::npos) return std::nullopt;
  const auto index = number_in(text.substr(0, middle)), count = number_in(text.substr(middle + between.size()));
  if (!index || !count || *index >= *count) return std::nullopt;
  return Shard{*index, *count};
}

// The shards beside the output, finished or not.
std::vector<Shard> shards_beside(const fs::path& out) {
  const fs::path target = io::writable_path(out);
  const std::string beginning = target.filename().string() + ".shard-";
  std::vector<Shard> shards;
  for (const auto& entry : fs::directory_iterator(target.has_parent_path() ? target.parent_path() : ".")) {
    std::string name = entry.path().filename().string();
    if (!name.starts_with(beginning)) continue;
    name = name.substr(beginning.size());
    if (const auto shard = shard_of(name.substr(0, name.find('.')), "-of-")) shards.push_back(*shard);
  }
  return shards;
}

void remove_shard(const fs::path& out, const Shard& shard) {
  std::error_code ignored;
  const fs::path file = shard_file(out, shard);
  for (const char* ending : {"", ".part", ".part.state"}) fs::remove(fs::path(file.string() + ending), ignored);
}

std::string how_to_compute(const Shard& shard) {
  return "compute it with --shard " + std::to_string(shard.index) + "/" + std::to_string(shard.count);
}

// The state of a finished shard; null if it is not finished.
io::Tree finished_state(const fs::path& file) {
  std::error_code none;
  if (!fs::exists(file, none) || !fs::exists(state_file(file), none)) return {};
  io::Tree state = io::read_json(state_file(file));
  return state.at("finished").boolean() ? state : io::Tree();
}

class ShardReader {
 public:
  ShardReader(const fs::path& out, const Shard& shard, const io::Tree& settings) : path_(shard_file(out, shard)) {
    const io::Tree state = finished_state(path_);
    require(!state.is_null(), path_.string(), ": this shard is missing or not finished; ", how_to_compute(shard));
    const std::string changed = differences(state.at("settings"), shard_settings(settings, shard));
    require(changed.empty(), path_.string(), ": this shard was made with other settings: ", changed, ". ", how_to_compute(shard),
            " --overwrite");
    file_.emplace(path_);
    require(file_->size() == state.at("bytes").as<uint64_t>(), path_.string(), ": this shard is damaged: it has ", file_->size(),
            " bytes, and should have ", state.at("bytes").as<uint64_t>(), "; ", how_to_compute(shard), " --overwrite");
  }

  std::optional<Frame> next() {
    if (offset_ == file_->size()) return std::nullopt;
    FrameHeader header;
    file_->read(offset_, std::as_writable_bytes(std::span(&header, 1)));
    offset_ += sizeof header;
    Frame frame{
        {header.texts, header.tokens, header.truncated, header.without_result, header.rows, std::string(header.input_hash, hash_size)},
        take(header.row_bytes),
        take(header.index_bytes)};
    return frame;
  }

 private:
  std::string take(uint64_t size) {
    require(size <= file_->size() - offset_, path_.string(), ": this shard is damaged");
    std::string bytes(size, '\0');
    file_->read(offset_, std::as_writable_bytes(std::span(bytes)));
    offset_ += size;
    return bytes;
  }

  fs::path path_;
  std::optional<io::RandomFile> file_;
  uint64_t offset_ = 0;
};

void add(Done& done, const Done& window) {
  done.texts += window.texts;
  done.tokens += window.tokens;
  done.truncated += window.truncated;
  done.without_result += window.without_result;
  done.rows += window.rows;
  done.input_hash = window.input_hash;
}

}  // namespace

Shard shard_named(const std::string& text) {
  if (const auto shard = shard_of(text, "/")) return *shard;
  throw UsageError("--shard " + text + ": wants I/N, such as 0/8 for the first of 8 shards and 7/8 for the last");
}

std::string name_of(const Shard& shard) { return std::to_string(shard.index) + " of " + std::to_string(shard.count); }

fs::path shard_file(const fs::path& out, const Shard& shard) {
  return io::writable_path(out).string() + ".shard-" + std::to_string(shard.index) + "-of-" + std::to_string(shard.count);
}

io::Tree shard_settings(io::Tree settings, const Shard& shard) {
  settings.set("shard", name_of(shard));
  return settings;
}

std::string frame_of(const Done& window, std::string_view rows, std::string_view index) {
  FrameHeader header{window.texts, window.tokens, window.truncated, window.without_result, window.rows, rows.size(), index.size(), {}};
  require(window.input_hash.size() == hash_size, "a window without the hash of its input");
  std::memcpy(header.input_hash, window.input_hash.data(), hash_size);
  std::string frame(reinterpret_cast<const char*>(&header), sizeof header);
  frame += rows;
  frame += index;
  return frame;
}

void check_other_shards(const fs::path& out, uint64_t count, bool resume, bool overwrite) {
  for (const Shard& shard : shards_beside(out)) {
    if (resume && shard.count == count) continue;
    if (overwrite) {
      remove_shard(out, shard);
      continue;
    }
    require(shard.count == count, "an unfinished run of ", out.string(), " with ", shard.count, " processes is there (",
            shard_file(out, shard).filename().string(), "); continue it with ", shard.count, " processes and --resume, or start over with ",
            "--overwrite");
    fail("an unfinished run of ", out.string(), " is there (", shard_file(out, shard).filename().string(),
         "); --resume continues it, --overwrite starts over");
  }
}

bool wait_for_shards(const fs::path& out, uint64_t count, const io::Tree& settings, const std::function<bool()>& stop) {
  for (uint64_t index = 0; index < count; ++index) {
    const Shard shard{index, count};
    const io::Tree wanted = shard_settings(settings, shard);
    while (true) {
      const io::Tree state = finished_state(shard_file(out, shard));
      if (!state.is_null() && differences(state.at("settings"), wanted).empty()) break;
      if (stop()) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  }
  return true;
}

Done join_shards(ResumableFile& out, const fs::path& name, uint64_t count, const io::Tree& settings) {
  std::vector<std::unique_ptr<ShardReader>> shards;
  for (uint64_t index = 0; index < count; ++index) shards.push_back(std::make_unique<ShardReader>(name, Shard{index, count}, settings));
  Done done;
  for (uint64_t window = 0;; ++window) {
    const std::optional<Frame> frame = shards[window % count]->next();
    if (!frame) break;
    add(done, frame->window);
    if (done.texts <= out.before().texts) continue;
    require(done.texts - frame->window.texts >= out.before().texts, "cannot resume ", out.part().string(),
            ": it ends within a window; start over with --overwrite");
    out.append(frame->rows, frame->index, done);
    io::throw_if_interrupted();
  }
  for (const auto& shard : shards) require(!shard->next(), name.string(), ": its shards do not fit together; start over with --overwrite");
  return done;
}

void remove_shards(const fs::path& out, uint64_t count) {
  for (uint64_t index = 0; index < count; ++index) remove_shard(out, {index, count});
}

}  // namespace m2bert::cli
