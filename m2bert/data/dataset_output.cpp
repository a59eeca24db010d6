#include "m2bert/data/dataset_output.h"

#include <algorithm>
#include <cstring>

#include "m2bert/error.h"
#include "m2bert/io/json.h"

namespace m2bert::data {
namespace {

namespace fs = std::filesystem;

}  // namespace

DatasetOutput::DatasetOutput(fs::path folder, fs::path pending, MdsFormat format, int threads)
    : folder_(std::move(folder)),
      pending_prefix_(std::move(pending)),
      format_(std::move(format)),
      threads_(static_cast<size_t>(std::max(1, threads))),
      content_(format_) {}

fs::path DatasetOutput::pending_file(size_t shard) const { return pending_prefix_.string() + "." + std::to_string(shard); }

void DatasetOutput::add(std::string_view sample) {
  if (!content_.fits(sample.size())) submit();
  content_.add(sample);
  ++samples_;
  const auto size = static_cast<uint32_t>(sample.size());
  unsaved_.append(reinterpret_cast<const char*>(&size), sizeof size);
  unsaved_ += sample;
}

void DatasetOutput::submit() {
  collect(threads_ - 1);
  const size_t number = index_.shards.size() + writing_.size();
  const uint64_t samples = content_.samples();
  writing_.push_back(std::async(std::launch::async, [folder = folder_, number, format = format_, content = content_.take(), samples] {
    return write_mds_shard(folder, number, format, content, samples);
  }));
  unsaved_.clear();
  if (pending_) outdated_.push_back(pending_->path());
  pending_.reset();
}

// Waits until at most `most` shards are being written.
void DatasetOutput::collect(size_t most) {
  while (writing_.size() > most) {
    index_.shards.push_back(writing_.front().get());
    writing_.pop_front();
  }
}

io::Tree DatasetOutput::save() {
  collect(0);
  if (!pending_) pending_ = std::make_unique<io::GrowingFile>(pending_file(index_.shards.size()), 0);
  pending_->append(unsaved_);
  unsaved_.clear();
  pending_->sync();
  return {{"index", mds_index_text(index_)}, {"pending_bytes", pending_->size()}};
}

void DatasetOutput::saved() {
  std::error_code none;
  for (const fs::path& file : outdated_) fs::remove(file, none);
  outdated_.clear();
}

void DatasetOutput::restore(const io::Tree& state) {
  index_ = parse_mds_index(state.at("index").string(), (folder_ / kMdsIndex).string());
  samples_ = index_.samples();
  const uint64_t bytes = state.at("pending_bytes").as<uint64_t>();
  pending_ = std::make_unique<io::GrowingFile>(pending_file(index_.shards.size()), bytes);
  const std::string pending = io::read_file(pending_->path());
  for (size_t at = 0; at < pending.size();) {
    uint32_t size = 0;
    require(pending.size() - at >= sizeof size, pending_->path().string(), ": is damaged");
    std::memcpy(&size, pending.data() + at, sizeof size);
    at += sizeof size;
    require(pending.size() - at >= size, pending_->path().string(), ": is damaged");
    content_.add(std::string_view(pending).substr(at, size));
    ++samples_;
    at += size;
  }
}

const MdsIndex& DatasetOutput::finish() {
  if (content_.samples() > 0) submit();
  collect(0);
  write_mds_index(folder_, index_);
  return index_;
}

}  // namespace m2bert::data
