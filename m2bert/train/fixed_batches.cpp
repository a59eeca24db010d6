#include "m2bert/train/fixed_batches.h"

#include "m2bert/checkpoint/tensor_file.h"
#include "m2bert/error.h"

namespace m2bert::train {

namespace {

struct Values {
  mx::Shape shape;
  std::vector<int32_t> values;
};

Values read(checkpoint::TensorFile& file, const std::string& path, const char* name) {
  const auto* tensor = file.find(name);
  require(tensor != nullptr, path, ": has no tensor ", name, " (wants input_ids, attention_mask and labels [batches, rows, length])");
  const auto stored = file.read(*tensor);
  require(stored.ndim() == 3 && stored.size() > 0 && mx::issubdtype(stored.dtype(), mx::integer), path, ": ", name, " is ", stored.dtype(),
          " ", stored.shape(), ", wants integers [batches, rows, length]");
  auto plain = mx::contiguous(mx::astype(stored, mx::int32));
  plain.eval();
  return {plain.shape(), {plain.data<int32_t>(), plain.data<int32_t>() + plain.size()}};
}

}  // namespace

FixedBatches::FixedBatches(const std::filesystem::path& path, int rank, int size) : path_(path.string()) {
  const auto file = checkpoint::TensorFile::open(path);
  const auto ids = read(*file, path.string(), "input_ids");
  auto same = [&](const char* name) {
    auto values = read(*file, path.string(), name);
    require(values.shape == ids.shape, path.string(), ": ", name, " has shape ", values.shape, ", input_ids ", ids.shape);
    return std::move(values.values);
  };
  batches_ = ids.shape[0], global_rows_ = ids.shape[1], length_ = ids.shape[2];
  require(global_rows_ % size == 0, path.string(), ": ", size, " processes cannot share ", global_rows_, " rows evenly");
  rows_ = global_rows_ / size;
  first_ = rank * rows_;
  attention_mask_ = same("attention_mask");
  labels_ = same("labels");
  if (file->find("token_type_ids")) token_type_ids_ = same("token_type_ids");
  input_ids_ = ids.values;
}

void FixedBatches::require_ids_below(int vocab_size) const {
  for (const int32_t id : input_ids_) {
    require(id >= 0 && id < vocab_size, path_, ": input_ids holds ", id, ", the model has ", vocab_size, " tokens");
  }
  for (const int32_t label : labels_) {
    require(label == -100 || (label >= 0 && label < vocab_size), path_, ": labels holds ", label, ", the model has ", vocab_size,
            " tokens");
  }
}

std::vector<int32_t> FixedBatches::share_of(const std::vector<int32_t>& all) const {
  const auto begin = all.begin() + (next_ * global_rows_ + first_) * length_;
  return {begin, begin + int64_t(rows_) * length_};
}

std::optional<data::Batch> FixedBatches::next() {
  if (next_ >= batches_) return std::nullopt;
  data::Batch batch;
  batch.rows = rows_;
  batch.length = length_;
  batch.input_ids = share_of(input_ids_);
  batch.attention_mask = share_of(attention_mask_);
  batch.labels = share_of(labels_);
  if (!token_type_ids_.empty()) batch.token_type_ids = share_of(token_type_ids_);
  ++next_;
  return batch;
}

void FixedBatches::seek(const data::DataPosition& position) { next_ = int64_t(position.samples) / global_rows_; }

}  // namespace m2bert::train
