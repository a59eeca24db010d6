#pragma once
// The keys of a recipe that are particular to retrieval: its loaders, and `task`.
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "m2bert/data/pairs.h"
#include "m2bert/data/retrieval_negatives.h"
#include "m2bert/io/tree.h"
#include "m2bert/models/pooling.h"
#include "m2bert/tasks/retrieval_objective.h"

namespace m2bert::train {

// A loader with `name: retrieval`.
struct RetrievalLoader {
  // Files of pairs, triplets or scored pairs; folders of benchmarks; MS MARCO's files of triples.
  std::vector<std::filesystem::path> data;
  data::PairOptions pairs;
  std::string split;                       // of folders; empty: train, for an evaluation test
  int max_seq_len = 0, max_query_len = 0;  // 0: the model's; as max_seq_len
  std::optional<bool> pad_to_longest;      // absent: where the padding does not change the result
  bool shuffle = true, drop_last = true, no_duplicates = true;
  int query_cap = 0;  // queries that are used of all data; 0: all
  int k = 10;         // of an evaluation's metrics
};

// data (a path or a list), split, format, delimiter, header, skip_bad, columns: {query, positive, negative, score}, max_seq_len,
// max_query_len, padding (max_length or longest), shuffle, drop_last, no_duplicates, query_cap, k. Error with the place of an invalid
// value. without_effect: gets the paths of other keys.
RetrievalLoader read_retrieval_loader(const io::Tree& loader, std::vector<std::string>& without_effect);

// Whether a loader names any data: upstream's recipes leave that to their script.
bool names_data(const io::Tree& loader);

struct HardNegatives {
  enum class Source { given, random, bm25, model };
  Source source = Source::given;  // given: those of the data
  data::NegativeOptions options;
  int64_t every = 0;  // model: batches between two searches; 0: only at the start
};

// `task` with `name: retrieval`.
struct RetrievalConfig {
  tasks::RetrievalObjective objective;
  std::string query_prompt, passage_prompt;
  std::optional<models::Poolings> pooling;  // absent: the model's
  std::optional<bool> normalize;
  size_t negatives = 0;          // of each sample
  bool negatives_given = false;  // else as many as all samples of the data have
  HardNegatives hard;
  int memory_bank = 0;         // passages; 0: none
  std::string guide, teacher;  // models; empty: none
};

// loss (read_objective), prompts: {query, passage}, pooling, normalize, negatives, hard_negatives: {source, first_rank, last_rank,
// absolute_margin, relative_margin, random, every}, memory_bank, guide, teacher. Error with the place of an invalid value, of a key that
// there is none of, and of settings that do not go together.
RetrievalConfig read_retrieval_task(const io::Tree& task, uint64_t seed);

}  // namespace m2bert::train
