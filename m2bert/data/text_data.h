#pragma once
// Batches for masked-language-model training from MDS data sets.
#include <memory>

#include "m2bert/data/batch_source.h"
#include "m2bert/data/text_config.h"
#include "m2bert/tokenize/wordpiece.h"

namespace m2bert::data {

// Rows of max_seq_len tokens: text is tokenized, truncated and padded; token samples are truncated and padded. The masks of a sample depend
// on the mask seed, the epoch and the sample's position in the epoch. A global batch is the next global_batch samples of the order (at the
// end of an epoch the remaining ones, unless drop_last); rank r of n gets the r-th of its n parts.
// Throws if the settings contradict each other or the data (see the headers of the parts), or unless 0 <= rank < ranks and
// global_batch >= 1. With skip_bad, next() throws if no sample of the data can be read at all.
std::unique_ptr<BatchSource> open_text_data(const TextDataConfig& config, const tokenize::WordPiece& tokenizer, const BatchShape& shape);

}  // namespace m2bert::data
