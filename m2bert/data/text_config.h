#pragma once
// The settings of a data loader for pretraining, with the names that the recipes of the PyTorch code have.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "m2bert/data/mask_tokens.h"
#include "m2bert/data/mds_stream.h"
#include "m2bert/data/mixture.h"
#include "m2bert/io/tree.h"

namespace m2bert::data {

struct TextStream {
  MdsStreamConfig data;
  StreamWeight weight;
};

struct TextDataConfig {
  std::vector<TextStream> streams;
  int max_seq_len = 0;

  bool shuffle = false;
  uint64_t shuffle_seed = 9176;
  uint64_t shuffle_block_size = uint64_t{1} << 18;  // samples that are mixed at a time; shuffle_algo naive: all
  std::optional<uint64_t> samples_per_epoch;

  std::optional<double> mlm_probability;  // absent: nothing is masked, and labels are the ids
  Masking masking = Masking::random;
  std::optional<uint64_t> mask_seed;                  // absent: shuffle_seed
  std::optional<int32_t> eos_token_id, bos_token_id;  // one of them: sequence_ids are counted

  bool drop_last = false;          // a last global batch that is not full is left out
  int num_workers = 2;             // threads that prepare batches; 0: none, next() does it
  int prefetch_factor = 2;         // batches ahead of the consumer, for each worker
  uint64_t predownload = 100'000;  // samples ahead whose shards are fetched and unpacked
  double timeout = 0;              // seconds that next() waits for a batch; 0: as long as it takes
  bool skip_bad = false;           // samples and shards that cannot be read are left out and counted; else they are an error

  std::vector<std::string> without_meaning;  // keys that were given and have no meaning here: "train_loader.pin_memory"
};

// From the map of a loader: {name: text, dataset: {...}, drop_last, num_workers, ...}. Null counts as absent. Errors name file, line and
// key: a key that is not known, a wrong value, no max_seq_len, no place of the data, eos_token_id and bos_token_id together.
TextDataConfig read_text_data_config(const io::Tree& loader);

}  // namespace m2bert::data
