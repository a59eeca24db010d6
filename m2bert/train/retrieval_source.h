#pragma once
// Training batches whose negatives the model itself finds, at the start of the run and every some batches.
#include <filesystem>
#include <functional>

#include "m2bert/data/retrieval_batches.h"
#include "m2bert/models/model.h"
#include "m2bert/tasks/batch_loss.h"
#include "m2bert/train/processes.h"
#include "m2bert/train/retrieval_config.h"

namespace m2bert::train {

// Gives every sample the negatives that BM25 ranks high; random ones where it finds too few.
void mine_with_bm25(data::RetrievalData& data, const data::NegativeOptions& options);

// The same with a model's vectors, exact by cosine. The processes share the texts and the searches, and all of them call this. rows: how
// texts are tokenized; batch: rows at once. False, with nothing changed, if a signal to one of the processes cut it short.
bool mine_with_model(data::RetrievalData& data, const data::NegativeOptions& options, models::Model& model, const tasks::BatchLoss& task,
                     const data::TextRows& rows, int batch, const Processes& processes);

// What a MiningSource needs of a run, once its model is there.
struct MiningContext {
  models::Model* model = nullptr;
  const tasks::BatchLoss* task = nullptr;
  const Processes* processes = nullptr;
  std::filesystem::path folder;  // of the run: negatives/baN.txt are those that batch N and the following ones are trained with
};

class MiningSource : public data::BatchSource {
 public:
  // data is that of the source, and both must outlive this. batch: texts embedded at once.
  MiningSource(data::RetrievalBatches& source, data::RetrievalData& data, HardNegatives hard, data::TextRows rows,
               const data::BatchShape& shape, int batch);

  void set_context(MiningContext context) { context_ = std::move(context); }
  // Batches that the run takes from an epoch, by which batches are numbered over epochs.
  void set_batches_per_epoch(int64_t count) { batches_per_epoch_ = count; }

  std::optional<data::Batch> next() override;
  void seek(const data::DataPosition& position) override;
  uint64_t samples_per_epoch() const override { return source_.samples_per_epoch(); }

 private:
  int64_t batch_number() const;
  bool refresh(int64_t wanted);
  std::filesystem::path file_of(int64_t batch) const;
  bool mine(std::string& text);

  data::RetrievalBatches& source_;
  data::RetrievalData& data_;
  HardNegatives hard_;
  data::TextRows rows_;
  data::BatchShape shape_;
  int batch_;
  MiningContext context_;
  data::DataPosition position_;
  int64_t mined_at_ = -1;
  int64_t batches_per_epoch_;
};

// The negatives of all samples as text, a line each, and back. Error, which begins with `name`, for other data.
std::string negatives_text(const data::RetrievalData& data);
void set_negatives(data::RetrievalData& data, const std::string& text, const std::string& name);

}  // namespace m2bert::train
