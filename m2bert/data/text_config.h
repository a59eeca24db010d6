#pragma once
// The settings of a data loader for pretraining, named as in upstream's recipes.
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
  uint64_t shuffle_block_size = uint64_t{1} << 18;  // samples that are shuffled together; shuffle_algo naive: all
  std::optional<uint64_t> samples_per_epoch;

  std::optional<double> mlm_probability;  // absent: no masking, and labels are the ids
  Masking masking = Masking::random;
  std::optional<uint64_t> mask_seed;                  // absent: shuffle_seed
  std::optional<int32_t> eos_token_id, bos_token_id;  // one of them set: rows are divided into sequences (sequence_ids)

  bool drop_last = false;          // skip an incomplete last global batch
  int num_workers = 2;             // threads that prepare batches; 0: next() prepares them
  int prefetch_factor = 2;         // batches that each worker prepares ahead
  uint64_t predownload = 100'000;  // samples ahead whose shards are fetched and decompressed
  double timeout = 0;              // seconds that next() waits for a batch; 0: no timeout
  bool skip_bad = false;           // skip and count samples and shards that cannot be read; otherwise they are an error

  std::vector<std::string> without_meaning;  // keys of the config that have no effect here, such as "train_loader.pin_memory"
};

// Reads a loader's map: {name: text, dataset: {...}, drop_last, num_workers, ...}. Null counts as absent. Throws for an unknown key, a
// wrong value, no max_seq_len, no location of the data, and for eos_token_id together with bos_token_id. Errors name file, line and key.
TextDataConfig read_text_data_config(const io::Tree& loader);

}  // namespace m2bert::data
