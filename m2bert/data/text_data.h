#pragma once
// Batches for masked-language-model training from MDS data sets.
#include <memory>

#include "m2bert/data/batch_source.h"
#include "m2bert/data/text_config.h"
#include "m2bert/tokenize/wordpiece.h"

namespace m2bert::data {

// Rows of max_seq_len tokens: text is tokenized, cut and padded; token samples are cut and padded. Masks of a sample follow from the mask
// seed, the epoch and its place in the epoch's order. A global batch takes the next global_batch samples of the order (the last one of an
// epoch what is left, unless drop_last), and rank r of n the r-th n-th of them.
// Error: the settings contradict each other or the data (see the files of the parts), or the shape does: wants 0 <= rank < ranks and
// global_batch >= 1. With skip_bad next() throws when not one sample of the data can be read.
std::unique_ptr<BatchSource> open_text_data(const TextDataConfig& config, const tokenize::WordPiece& tokenizer, const BatchShape& shape);

}  // namespace m2bert::data
